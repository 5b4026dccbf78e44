"""A small shop whose services report to Bonghwa with the OpenTelemetry SDK.

Fills the last quarter of an hour with seeded traffic, slow and failing requests among
it, then shows what to ask and the first answers. With --forever it goes on trading.
"""

import argparse
import sys
import time

import show
from service import Clock, Shop
from traffic import Traffic

HISTORY = 15 * 60.0
READY = 60.0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", default="http://127.0.0.1:7800")
    parser.add_argument("--otlp-grpc", default="127.0.0.1:4317")
    parser.add_argument("--otlp-http", default="http://127.0.0.1:4318")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--visits", type=int, default=1200, help="in the history")
    parser.add_argument("--forever", action="store_true", help="go on after the answers")
    args = parser.parse_args()

    api = show.Api(args.api)
    api.wait_until_ready(READY)
    shop = Shop(args.otlp_grpc, args.otlp_http)
    traffic = Traffic(shop, args.seed)
    print(f"The shop has {len(shop.services)} services: {', '.join(sorted(shop.services))}.", flush=True)
    began = time.time() - HISTORY
    for visit in range(args.visits):
        traffic.visit(Clock(began + HISTORY * visit / args.visits))
        if visit % (args.visits // 10) == 0:
            shop.report_metrics()
    shop.report_everything()
    ok = show.answers(api)
    if args.forever:
        forever(api, shop, traffic)
    shop.close()
    return 0 if ok else 1


def forever(api, shop, traffic):
    """One or two visits a second, as they happen, until the server is gone or Ctrl-C."""
    visits = 0
    try:
        while api.is_ready():
            time.sleep(traffic.pause())
            traffic.visit(Clock(time.time()))
            visits += 1
            if visits % 10 == 0:
                shop.report_metrics()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    sys.exit(main())
