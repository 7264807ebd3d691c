/* The Python interpreter as its shared library: Debian's own program has it linked in. */
int Py_BytesMain(int argc, char **argv);

int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
