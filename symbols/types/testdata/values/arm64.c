/* Functions for AAPCS64: no headers, which need not be there for ARM64. */
struct two { int a, b; };
struct sixteen { long a; char b; };
struct big { long a[3]; };
struct floats { float x, y, z; };

int scalars(int a, char *b, double c, long d, _Bool e) { return a + *b + (int)c + (int)d + e; }
struct sixteen structs(struct two a, struct sixteen b, struct big c, struct floats d, __int128 e) { b.a += a.a + c.a[1] + (long)d.x + (long)e; return b; }
struct big spill(long a, long b, long c, long d, long e, long f, long g, struct sixteen h, long i) { struct big s = {{a + b + c + d, e + f + g, h.a + i}}; return s; }
__int128 pairs(int a, __int128 b, int c) { return a + b + c; }
struct floats floating(struct floats a, float b) { a.x += b; return a; }
