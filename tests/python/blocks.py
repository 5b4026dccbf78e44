"""Reads every block with stock DuckDB and pyarrow, and counts what SQL counts.

Also reads SQL's Arrow stream with pyarrow, and the blocks over S3 where --s3-endpoint
is given (with the credentials of the AWS environment).
"""

import argparse
import io
import json
import os
import pathlib
import urllib.request

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from server import Server

MAGIC = b"PAR1"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", required=True)
    parser.add_argument("--objects", required=True, type=pathlib.Path, help="the directory of the objects")
    parser.add_argument("--s3-endpoint")
    parser.add_argument("--s3-path", help="bucket and prefix")
    args = parser.parse_args()

    server = Server(args.api)
    blocks = {"logs": [], "spans": [], "metrics": []}
    for path in sorted(p for p in args.objects.rglob("*") if p.is_file() and is_parquet(p)):
        blocks[table_of(path)].append(path)
    for table, paths in blocks.items():
        want = server.count(f"SELECT count(*) FROM {table}")
        assert want > 0 and paths, f"{table}: {want} rows in {len(paths)} blocks: nothing to compare"
        for reader in (by_duckdb, by_pyarrow):
            got = reader(table, paths)
            assert got == want, f"{table}: {reader.__name__} counts {got} in {len(paths)} blocks, SQL counts {want}"
        if args.s3_endpoint:
            keys = [f"{args.s3_path}/{p.relative_to(args.objects)}" for p in paths]
            got = over_s3(table, keys, args.s3_endpoint)
            assert got == want, f"{table}: pyarrow over S3 counts {got}, SQL counts {want}"
        if table == "metrics":
            same_samples(server, paths)
        arrow_stream(args.api, table, want)
        print(f"{table}: {want} rows in {len(paths)} blocks")


def is_parquet(path):
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def table_of(path):
    """By the columns, which the three kinds of blocks do not share."""
    names = set(pq.read_schema(path).names)
    return "metrics" if "time_offsets" in names else "spans" if "parent_span_id" in names else "logs"


def by_duckdb(table, paths):
    """Rows, all columns read; a row of a metrics block holds many samples."""
    files = [str(p) for p in paths]
    relation = duckdb.read_parquet(files, union_by_name=True)
    what = "sum(len(time_offsets))" if table == "metrics" else "count(*)"
    ((count,),) = relation.aggregate(what).fetchall()
    rows = len(relation.fetchall())
    assert table == "metrics" or rows == count, f"{table}: DuckDB counts {count} and returns {rows}"
    return int(count)


def by_pyarrow(table, paths):
    return sum(count_items(table, pq.ParquetFile(p).read()) for p in paths)


def same_samples(server, paths):
    """Times and values are as the documentation of blocks says how to read them."""
    samples = duckdb.read_parquet([str(p) for p in paths], union_by_name=True).query("blocks", """
        SELECT epoch_ns(min_time) + (i - 1) * time_step + time_offsets[i] AS time,
               coalesce(numbers[i] / pow(10, coalesce(number_scale, 0)), floats[i]) AS value
        FROM (SELECT *, unnest(range(1, samples + 1)) AS i FROM blocks)
    """)
    (got,) = samples.aggregate("min(time), max(time), count(value), min(value), max(value)").fetchall()
    (want,) = server.rows("""
        SELECT CAST(min(time) AS BIGINT) AS first, CAST(max(time) AS BIGINT) AS last,
               count(value) AS values, min(value) AS least, max(value) AS most FROM metrics
    """)
    want = list(want.values())
    assert list(got) == want, f"metrics: {got} in blocks, {want} by SQL"


def over_s3(table, keys, endpoint):
    scheme, _, host = endpoint.partition("://")
    store = fs.S3FileSystem(
        access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region=os.environ["AWS_REGION"], endpoint_override=host, scheme=scheme)
    return sum(count_items(table, pq.read_table(key, filesystem=store, partitioning=None)) for key in keys)


def count_items(table, data):
    data.validate(full=True)
    return pc.sum(pc.list_value_length(data["time_offsets"])).as_py() if table == "metrics" else data.num_rows


def arrow_stream(api, table, want):
    """The same rows as an Arrow stream."""
    body = json.dumps({"query": f"SELECT * FROM {table}"}).encode()
    headers = {"accept": "application/vnd.apache.arrow.stream", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{api}/api/v1/sql", data=body, headers=headers)) as answer:
        assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream", answer.headers
        data = pa.ipc.open_stream(io.BytesIO(answer.read())).read_all()
    data.validate(full=True)
    assert data.num_rows == want, f"{table}: {data.num_rows} rows in the Arrow stream, {want} by count(*)"


if __name__ == "__main__":
    main()
