"""Work whose output is the same in every run: script.py ROUNDS [wait]"""

import hashlib
import json
import re
import sys
import threading


class OrderError(Exception):
    pass


class Order:
    def __init__(self, number, amount):
        self.number = number
        self.amount = amount

    def process(self):
        if self.number % 7 == 0:
            raise OrderError(f"order {self.number} is refused")
        return round(self.amount * 1.19, 2)


def orders(count):
    for number in range(count):
        yield Order(number, number * 1.5)


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def work(rounds):
    total, failed = 0.0, 0
    for order in orders(rounds * 10):
        try:
            total += order.process()
        except OrderError:
            failed += 1
    text = json.dumps({"total": round(total, 2), "failed": failed, "fib": fib(12)}, sort_keys=True)
    words = re.findall(r"[a-z]+", text)
    return hashlib.sha256((text + ",".join(sorted(words))).encode()).hexdigest(), text


def main():
    rounds = int(sys.argv[1])
    if "wait" in sys.argv:
        print("ready", flush=True)
        sys.stdin.readline()
    results = [None] * 3
    def run(i):
        results[i] = work(rounds + i)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for digest, text in results:
        print(digest, text)
    sys.exit(3)


main()
