"""Calls functions of Python's library, so many times each, with objects of known types: objects.py ROUNDS [wait]"""

import ctypes
import sys


class Marked:
    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return f"Marked({self.number})"


def twice(item):
    return item.number * 2


def function(name, result, *arguments):
    f = ctypes.PYFUNCTYPE(result, *arguments)
    return f((name, ctypes.pythonapi))


def main():
    rounds = int(sys.argv[1])
    set_item = function("PyDict_SetItem", ctypes.c_int, *[ctypes.py_object] * 3)
    append = function("PyList_Append", ctypes.c_int, *[ctypes.py_object] * 2)
    del_item = function("PyDict_DelItemString", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
    if "wait" in sys.argv:
        print("ready", flush=True)
        sys.stdin.readline()
    table, items, missing = {}, [], 0
    for number in range(rounds):
        item = Marked(number)
        set_item(table, f"key {number}", item)
        append(items, item)
        setattr(item, "double", twice(item))
        repr(item)
        try:
            del_item(table, b"missing %d" % number)
        except KeyError:
            missing += 1
    items.sort(key=twice, reverse=True)
    print(len(table), len(items), missing, items[0], table["key 1"].double)
    sys.exit(3)


main()
