"""Writes through a gateway with redis-py, and reads again what it wrote, until its input ends: `with-redis-py.py HOST PORT`.

Each line of input, and its end, is answered with one line of JSON: what was done and seen so far. What the library would
hide by trying again counts as an error.
"""

import json
import sys
import threading
import time

import redis
from redis import maint_notifications as maint
from redis.backoff import NoBackoff
from redis.retry import Retry

WORKERS = 8
# As in a program that has something else to do, too.
PAUSE = 0.001
NAMES = {
    maint.NodeMovingNotification: "MOVING",
    maint.NodeMigratingNotification: "MIGRATING",
    maint.NodeMigratedNotification: "MIGRATED",
    maint.NodeFailingOverNotification: "FAILING_OVER",
    maint.NodeFailedOverNotification: "FAILED_OVER",
}


class Account:
    """What was done and seen so far."""

    def __init__(self):
        self.lock = threading.Lock()
        self.commands = 0
        self.longest = 0.0
        self.errors = []
        self.notifications = {}

    def done(self, seconds):
        with self.lock:
            self.commands += 1
            self.longest = max(self.longest, seconds)

    def failed(self, text):
        with self.lock:
            self.errors.append(text)

    def told(self, notification):
        name = NAMES.get(type(notification), type(notification).__name__)
        with self.lock:
            self.notifications[name] = self.notifications.get(name, 0) + 1

    def line(self):
        with self.lock:
            return json.dumps(
                {
                    "library": f"redis-py {redis.__version__}",
                    "commands": self.commands,
                    "longest_ms": round(self.longest * 1000),
                    "errors": self.errors,
                    "notifications": self.notifications,
                }
            )


def count_notifications(account):
    """Where the library takes them, after it has understood them."""
    for handler in (maint.MaintNotificationsPoolHandler, maint.MaintNotificationsConnectionHandler):

        def counted(self, notification, handle=handler.handle_notification):
            account.told(notification)
            return handle(self, notification)

        handler.handle_notification = counted


def work(client, account, number, stop):
    key, value = f"redis-py:{number}", 0
    while not stop.is_set():
        value += 1
        try:
            for command in (lambda: client.set(key, value), lambda: client.get(key)):
                begun = time.monotonic()
                answer = command()
                account.done(time.monotonic() - begun)
            if answer != str(value):
                account.failed(f"{key} is {answer} instead of {value}")
        except Exception as error:  # Whatever it is, a program would have to cope with it.
            account.failed(f"{type(error).__name__}: {error}")
        time.sleep(PAUSE)


def main(host, port):
    account, stop = Account(), threading.Event()
    count_notifications(account)
    client = redis.Redis(
        host=host,
        port=int(port),
        protocol=3,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=maint.MaintNotificationsConfig(enabled=True),
    )
    workers = [
        threading.Thread(target=work, args=(client, account, number, stop)) for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for _ in sys.stdin:
        print(account.line(), flush=True)
    stop.set()
    for worker in workers:
        worker.join()
    print(account.line(), flush=True)


main(*sys.argv[1:])
