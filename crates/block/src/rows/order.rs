//! The order of rows in a block: by service or trace, then time, then arrival.

use bonghwa_model::batch::Batch;

use super::Input;

/// A row: where it lies, in a batch or a thin one, and whose it is (numbers of [`Input`]).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub batch: u32,
    pub row: u32,
    pub resource: u32,
    pub scope: u32,
}

/// All rows of these batches as they came.
pub(crate) fn in_batch_order<'a>(input: &'a Input<'_>, batches: &'a [u32]) -> impl Iterator<Item = Row> + Clone + 'a {
    batches.iter().flat_map(|&batch| {
        let thin = input.thin(batch).map(|thin| thin_rows(input, batch, thin.rows() as u32));
        let whole = thin.is_none().then(|| rows(input, batch));
        whole.into_iter().flatten().chain(thin.into_iter().flatten())
    })
}

fn rows<'a>(input: &'a Input<'_>, batch: u32) -> impl Iterator<Item = Row> + Clone + 'a {
    let (resources, scopes) = (&input.resource_ids[batch as usize], &input.scope_ids[batch as usize]);
    input.batches[batch as usize].common().group_ranges().flat_map(move |(group, range)| {
        let (resource, scope) = (resources[group.resource as usize], scopes[group.scope as usize]);
        range.map(move |row| Row { batch, row: row as u32, resource, scope })
    })
}

fn thin_rows<'a>(input: &'a Input<'_>, batch: u32, rows: u32) -> impl Iterator<Item = Row> + Clone + 'a {
    (0..rows).map(move |row| {
        let (teller, told) = input.told(batch, row);
        let groups = &input.batches[teller as usize].common().groups;
        let group = groups[groups.partition_point(|group| group.end <= told)];
        let resource = input.resource_ids[teller as usize][group.resource as usize];
        let scope = input.scope_ids[teller as usize][group.scope as usize];
        Row { batch, row, resource, scope }
    })
}

fn collected(input: &Input<'_>, batches: &[u32]) -> Vec<Row> {
    let mut rows = Vec::with_capacity(batches.iter().map(|b| input.batches[*b as usize].rows()).sum());
    in_batch_order(input, batches).for_each(|row| rows.push(row));
    rows
}

/// Per resource: the rank of its service's name.
pub(crate) fn service_ranks(input: &Input<'_>) -> Vec<u32> {
    let mut names: Vec<&str> = input.resources.iter().map(|(r, _)| r.service_name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let rank = |name: &str| names.binary_search(&name).unwrap_or(0) as u32;
    input.resources.iter().map(|(r, _)| rank(&r.service_name)).collect()
}

/// All rows of these batches by service and time.
pub(crate) fn sorted(input: &Input<'_>, batches: &[u32]) -> Vec<Row> {
    let ranks = service_ranks(input);
    let services = ranks.iter().max().map_or(0, |max| *max as usize + 1);
    let rows = collected(input, batches);
    let mut starts = vec![0usize; services + 1];
    for row in &rows {
        starts[ranks[row.resource as usize] as usize + 1] += 1;
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let nowhere = (0i64, Row { batch: 0, row: 0, resource: 0, scope: 0 });
    let mut timed = vec![nowhere; rows.len()];
    let mut next = starts.clone();
    for row in rows {
        let slot = &mut next[ranks[row.resource as usize] as usize];
        timed[*slot] = (input.batches[row.batch as usize].times()[row.row as usize], row);
        *slot += 1;
    }
    for bounds in starts.windows(2) {
        let service = &mut timed[bounds[0]..bounds[1]];
        if !service.is_sorted_by_key(|(time, _)| *time) {
            // Stable: what came first stays first. Batches are sorted runs, which it merges.
            service.sort_by_key(|(time, _)| *time);
        }
    }
    timed.into_iter().map(|(_, row)| row).collect()
}

/// All rows of these batches of spans by trace and start.
pub(crate) fn by_trace(input: &Input<'_>, batches: &[u32]) -> Vec<Row> {
    let mut rows = collected(input, batches);
    // Stable: what came first stays first.
    rows.sort_by_cached_key(|row| match input.batches[row.batch as usize] {
        Batch::Traces(b) => (b.trace_id[row.row as usize], b.start_time[row.row as usize]),
        other => ([0; 16], other.times()[row.row as usize]),
    });
    rows
}
