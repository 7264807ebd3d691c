/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The wire format: what the probes read from maps and write to the ring buffer.
 *
 * Little endian, naturally aligned, no implicit padding. Every structure here has a
 * Go twin that is read by offset (decode/) or written whole (bpf/); a test compares
 * the two field by field.
 */
#ifndef OBSERVATORY_TRACE_EVENT_H
#define OBSERVATORY_TRACE_EVENT_H

#define MAX_DATA 8192   /* bytes of captured data behind an event's header; a power of two */
#define MAX_MOVES 32    /* pieces a root block is put together from */
#define MAX_EDGES 64    /* pointers followed out of one value */
#define MAX_EACH 64     /* values of one block whose pointers are followed */
#define MAX_BLOCKS 128  /* blocks copied for one event */
#define MAX_BLOCK 4096  /* bytes of one block; a power of two, and no more than MAX_DATA */
#define MAX_STACK 8192  /* bytes copied of a stack; a power of two */
#define MAX_FRAMES 64   /* return addresses collected by frame pointers; a power of two */
#define MAX_CHECKS 8    /* comparisons of a function's arguments */
#define MAX_RECORD 16824 /* bytes of a record: header, data, errno, registers and stack */

enum event_kind {
	EVENT_ENTRY = 1,   /* a call began (or, for a role, the role's function was entered) */
	EVENT_EXIT = 2,    /* a call ended by returning or by a tail jump */
	EVENT_FORK = 3,    /* a traced process forked: pid of the child in `arg` */
	EVENT_EXEC = 4,    /* a process executed a new image; the thread's former id in `arg` */
	EVENT_DEATH = 5,   /* a traced thread ended; bit 0 of `arg`: it was the last of its process, from bit 8 on: the signal that killed it, from DEATH_INSIDE on: see there; `more`: then the CPU time of the process, ns */
	EVENT_SIGNAL = 6,  /* a thread is about to be killed, with its process, by the signal in `arg` */
};

enum event_flag {
	EVENT_TAIL = 1,       /* exit: by a tail jump; the result is the callee's */
	EVENT_URETPROBE = 2,  /* exit: seen by a uretprobe */
	EVENT_TRUNCATED = 4,  /* blocks were left out at a limit */
	EVENT_NO_G = 8,       /* Go: the goroutine could not be read; goid is 0, pos is the CFA's */
	EVENT_NO_CPU = 16,    /* this kernel does not show what CPU time is made from; arg is 0 */
	EVENT_NO_RSS = 32,    /* the same of rss */
	EVENT_LATE = 64,      /* entry: told only when the call had failed; it would not have been recorded otherwise */
	EVENT_DEAD = 128,     /* late entry: the call was left without a return; when, is in `arg` */
};

/*
 * An event: this header, `root` bytes of root block, then blocks, each a struct block
 * followed by its bytes and padded to 8.
 */
struct event {
	__u32 size;   /* bytes of the whole record, this header included */
	__u8 kind;    /* enum event_kind */
	__u8 flags;   /* enum event_flag */
	__u16 root;   /* bytes of the root block, padded to 8; bytes that no move fills are undefined */
	__u32 func;   /* function id; 0 for process events */
	__u32 missed; /* bit i: move i of the plan could not be read */
	__u32 tgid;   /* process id, initial pid namespace */
	__u32 tid;    /* thread id, initial pid namespace */
	__u64 ts;     /* CLOCK_MONOTONIC, ns */
	__u64 goid;   /* goroutine id, 0 when not Go */
	__u64 pos;    /* frame position: grows with depth. C: ~CFA; Go: stack.hi - CFA, which a moved stack keeps */
	__u64 ip;     /* absolute address of the probed instruction (uretprobe: of the return address) */
	__u64 cfa;    /* canonical frame address: the caller's stack pointer once this call has returned */
	/*
	 * Process events: see enum event_kind. Entries and exits: the thread's CPU time less the
	 * scheduler's clock (which runs at CLOCK_MONOTONIC_RAW's rate), ns. What raises: the address that it was
	 * called from, where its call returns to, or 0.
	 */
	__u64 arg;
	/*
	 * Entries and exits: what the thread and its process have used so far. What a call used is
	 * the difference of two, modulo the width, as it is of the CPU time.
	 */
	__u32 minor;  /* page faults of the thread */
	__u32 major;
	__u32 switches; /* context switches of the thread, voluntary and not */
	__u32 rss;    /* resident pages of the process, but for what the processors have yet to add up */
	/*
	 * Entries: the share of such calls that are recorded, of RATE_ALL, MORE_READ_LATE, and from bit
	 * MORE_INSIDE on the mark of the innermost call that is open, of those whose entry was told: who
	 * takes one for open that was entered later has not been told of its end. Exits: the time that
	 * the probes are thought to have taken between the call's entry and this, ns.
	 */
	__u64 more;
};

#define MORE_READ_LATE (1ULL << 32) /* late entry: what pointers lead to was read when the call had failed */

#define MORE_INSIDE 33
#define DEATH_INSIDE 32 /* of a death's `arg`: the same mark, of the calls that the thread has left open */
#define MARK_NONE 1 /* there is none; 0: that isn't known */
#define MARK_OF(ts) (((__u32)(ts) & 0x7fffffff) | 2) /* of the call that was entered then */

/*
 * There are two ring buffers. The one has the entries and exits of calls as they come. The other has
 * what is rare and must not be crowded out by those: failed calls' exits and late entries, what
 * tells of unwinding, and processes. There each record begins with the position that the
 * first one's writers had reached: all that its thread wrote before lies below it, all that it
 * wrote later does not.
 */
struct stamped {
	__u64 after; /* bytes */
	struct event event;
};

#define RATE_ALL 0xffffffff /* every call is recorded */

enum block_status {
	BLOCK_OK = 0,
	BLOCK_FAULT = 1,     /* the address is not mapped: no bytes follow */
	BLOCK_CUT = 2,       /* fewer bytes than the value has follow */
};

struct block {
	__u64 addr;   /* where the bytes were */
	__u32 type;   /* capture program of the bytes' type; TYPE_BYTES for text */
	__u32 len;    /* bytes that follow (before padding to 8) */
	__u32 status; /* enum block_status */
	__u32 want;   /* bytes the value has */
};

/*
 * A side is flat when no pointer is followed from its root block, every move is from a
 * register to a word of its own in it (dst is a multiple of 8, and no two are the same),
 * and the root block has at most so many words.
 */
#define FLAT_WORDS 8

#define TYPE_BYTES 1 /* the reserved capture program of plain bytes: no pointers in it */

/*
 * Blocks behind all others that are no values but tell of the stack when something was raised
 * or an error returned. What they begin with is the caller of the event's function: its
 * registers as they are when the call returns. Of a signal it is where the signal came.
 */
#define TYPE_REGISTERS 2000000001 /* words: the registers in DWARF's numbering up to the stack pointer's, then the program counter */
#define TYPE_STACK 2000000002     /* memory from the stack pointer on; BLOCK_FAULT: left out, `want` says why (enum stack_lack) */
#define TYPE_FRAMES 2000000003    /* words instead of both: return addresses, found by frame pointers */

/*
 * Before those, of a C function that failed: the thread's errno when it returned, an int in a
 * word. BLOCK_FAULT: it could not be read; `want` says why (enum errno_lack).
 */
#define TYPE_ERRNO 2000000004

/* Why a stack is left out. */
enum stack_lack {
	STACK_ROOM = 1,   /* the ring buffer was nearly full */
	STACK_BUDGET = 2, /* by choice: such stacks take too much of the process's time */
};

enum errno_lack {
	ERRNO_PLACE = 1,   /* nobody knew where it is */
	ERRNO_MEMORY = 2,  /* it is not mapped, or there is no thread pointer yet */
	ERRNO_SEVERAL = 3, /* the process has several C libraries, each with one of its own */
};

/* A function, by id. */
enum func_flag {
	FUNC_GO = 1,      /* pair by goroutine */
	FUNC_ABI0 = 2,    /* g is in thread-local storage, not in its register */
	FUNC_FLAT_ENTRY = 4, /* at its entry all that is copied is words in registers: see FLAT_WORDS */
	FUNC_FLAT_EXIT = 8,  /* the same at its exit */
	FUNC_SAVES = 16,     /* what is in register `saved` at entry is kept for its exit */
	FUNC_RAISES = 32,    /* its entry comes with the stack */
	FUNC_URGENT = 64,    /* its events are to be read at once */
	FUNC_RETURNS = 128,  /* its exit is seen by a uretprobe: also when it has left by a tail jump */
	FUNC_HOLD = 256,     /* whether a call is recorded shows at its end: see `least` */
	FUNC_KEEPS_ERRORS = 512, /* failed calls are recorded whatever its checks say */
	FUNC_ERRNO = 1024,   /* where its exit tells that it failed, errno goes with it */
	FUNC_GENERIC = 4096, /* Go: which of its instances is called tells its dictionary */
	FUNC_KEEPS = 16384, /* the root block of its entry has room in a frame (KEPT_WORDS) */
	FUNC_WORDS = 8192, /* the root block of its entry is words in registers, as where it is flat; but there may be pointers in it */
	FUNC_FINDS_ERRNO = 2048, /* its entry makes no event: it is when errno's place in the process can be found, once for each C library */
};

/*
 * How a word of the result tells that the call failed, and its exit is to come with the
 * stack: it is one of the fail_span + 1 values from fail_low on, modulo its size.
 */
enum fail_test {
	FAIL_NEVER = 0,
	FAIL_WORD = 1,
	FAIL_INT = 2, /* a whole register, of which nobody knows whether it holds an int: one with bit 31 and nothing above it is taken for negative */
};

/* What may change of a function while it is traced. */
struct control {
	__u32 keep;       /* the share of its calls that are recorded, of RATE_ALL */
	__u32 state;      /* enum control_state */
	__u32 cost;       /* what the probes take of a call that is only counted, as its caller sees it, ns */
	__u32 share;      /* and as its own duration has it */
	__u32 told_cost;  /* the same of one that is recorded */
	__u32 told_share;
};

/* Three cache lines: what each hit needs, and what entries and exits do. */
struct func {
	__u32 flags;       /* enum func_flag */
	__u32 role;        /* enum role */
	struct control control;
	__u64 address;     /* virtual address of the first byte in the file */
	__u32 goid_offset; /* Go: offset of goid in runtime.g */
	__s32 tls_offset;  /* Go, ABI0: offset of g from the thread pointer; FUNC_FINDS_ERRNO: of errno, unless there is an errno_slot */
	__u32 nchecks;
	__u32 file;        /* file number, for dynamic types */
	__u32 saved;       /* FUNC_SAVES: register, DWARF numbering */
	__u32 site;        /* offset of the entry site from address */
	struct side {
		__u32 type;    /* capture program of the root block, 0: the root has no pointers */
		__u32 moves;   /* index of the first move */
		__u16 nmoves;
		__u16 root;    /* bytes of the root block, a multiple of 8 */
		__u16 fail_off;  /* of the word that tells of failure, in what that move makes */
		__u8 fail_size;  /* its bytes: 1, 2, 4 or 8 */
		__u8 fail_test;  /* enum fail_test */
		__u64 fail_low;
		__u64 fail_span;
		__u32 fail_move; /* index of the move that the word comes with */
		__u32 pad;
		__u64 words;   /* flat, or FUNC_WORDS: what the moves do, a byte for each word: enum word */
	} entry;
	__u64 least;       /* FUNC_HOLD: calls that took less are not recorded unless they fail, ns */
	__u64 errno_slot;  /* FUNC_FINDS_ERRNO: virtual address of the word that has that offset in a running process, or 0 */
	struct side exit;
	__u32 checks;      /* index of the first check of its arguments; all must hold, else a call is not recorded */
	__u32 dict_move;   /* FUNC_GENERIC: index of the move that makes the dictionary's address */
	__u64 pad;
};

/* How a word of a root block is made of a register. */
enum word {
	WORD_REGISTER = 31, /* which one, DWARF numbering */
	WORD_SHIFT = 32,    /* from here on: from which of its bytes on */
	WORD_NONE = 255,    /* it is not filled */
};

enum control_state {
	CONTROL_LINK = 0xff,      /* which of its links counts: the same as in a hit's cookie */
	CONTROL_ALONE = 1 << 8,   /* its rate holds also below a call that was chosen */
	CONTROL_EPOCH = 1 << 16,  /* from here on: how often it has been detached, modulo the width */
};

enum role {
	ROLE_CALL = 0,
	ROLE_GO_PANIC = 1,
	ROLE_GOEXIT = 2,
	ROLE_THROW = 3,
	ROLE_RETHROW = 4,
	ROLE_CATCH = 5,
	ROLE_UNWIND = 6,
	ROLE_FORCED = 7,
	ROLE_LONGJMP = 8,
	ROLE_RUST_PANIC = 9,
	ROLE_LIBRARY_MAP = 10,
	ROLE_GO_RECOVERY = 11,
	ROLE_LIBC_START = 12,
	ROLE_GO_FATAL = 13,
	ROLE_GO_UNCAUGHT = 14,
};

enum source {
	SOURCE_REGISTER = 1, /* reg, DWARF numbering; off is the byte within it */
	SOURCE_CFA = 2,      /* memory at CFA + off */
	SOURCE_MEMORY = 3,   /* memory at reg + off */
	SOURCE_SAVED = 4,    /* exit: memory at what FUNC_SAVES kept + off */
};

struct move {
	__u16 dst;  /* offset in the root block */
	__u16 size; /* bytes, at most 8 from a register */
	__u8 source;
	__u8 reg;
	__u16 pad;
	__s32 off;
	__u32 pad2;
};

/* A generic function as it is with one dictionary: key of the `instances` map, of the ids under which calls are counted. */
struct instance_key {
	__u32 func;
	__u32 pad;
	__u64 dictionary; /* its address in the file */
};

/* A comparison of a word that is captured at entry with a constant. */
struct check {
	__u32 move;  /* index of the move that the word comes with */
	__u8 off;    /* of the word in what that move makes */
	__u8 size;   /* its bytes: 1, 2, 4 or 8 */
	__u8 op;     /* enum check_op */
	__u8 is_signed;
	__u64 value;
};

enum check_op {
	CHECK_EQUAL = 1,
	CHECK_DIFFERS = 2,
	CHECK_LESS = 3,
	CHECK_MORE = 4,
	CHECK_AT_MOST = 5,
	CHECK_AT_LEAST = 6,
};

/* A capture program: how many bytes a value has, and the pointers in it. */
struct type_prog {
	__u32 size;   /* bytes of one value */
	__u32 edges;  /* index of the first edge */
	__u32 nedges;
	__u32 pad;
};

enum edge_kind {
	EDGE_POINTER = 1, /* one value of `type` behind the pointer */
	EDGE_COUNTED = 2, /* as many values of `type` as the integer at `len_off` says */
	EDGE_CSTRING = 3, /* bytes up to a NUL */
	EDGE_IFACE = 4,   /* Go interface: itab or nil at `off`, data word behind it; the type is looked up */
	EDGE_EFACE = 5,   /* Go empty interface: type or nil at `off` */
	EDGE_WIDE = 6,    /* a wide string: as many bytes as a string may have and its page has */
	EDGE_CLASS = 7,   /* C++: an object that begins with the address of a vtable; where that is not known, one value of `type` */
	EDGE_TRAIT = 8,   /* Rust's trait object: data pointer at `off`, vtable at `len_off`; `stride` bytes lie before the value */
	EDGE_CLOSURE = 9, /* Go function value: the code's address is behind it; the type is looked up by that, else it is `type` */
	EDGE_DICT = 10,    /* Go type parameter's pointer: its runtime type is at `stride` behind the dictionary whose address is at `len_off` */
};

/* EDGE_COUNTED: how the number of values is told. */
enum count_form {
	COUNT_PLAIN = 0, /* the integer at len_off */
	COUNT_MASK = 1,  /* one more than that */
	COUNT_SHIFT = 2, /* two to the power of the byte at len_off */
	COUNT_HALF = 3,  /* half of that */
	COUNT_END = 4,   /* len_off has the address of their end */
};

enum edge_when {
	WHEN_ALWAYS = 0,
	WHEN_EQUAL = 1,  /* the 4 bytes at when_off are when_value */
	WHEN_DIFFERS = 2,
};

enum edge_flag {
	EDGE_INNER = 1, /* from a container to its contents: no step deeper */
	EDGE_BACK = 2,  /* EDGE_COUNTED: the values end at the address, the first one last */
	EDGE_UNTAG = 4, /* the pointer's lowest two bits are no part of it */
	EDGE_SLICE = 8, /* EDGE_DICT: a slice lies there, of the type that the dictionary tells */
};

struct edge {
	__u16 off;      /* of the pointer, in the value */
	__u16 len_off;  /* EDGE_COUNTED: of the length, in the value */
	__u8 kind;
	__u8 len_size;  /* EDGE_COUNTED: bytes of the length, 4 or 8 */
	__u16 depth;    /* pointers already followed to get here are at most this; 0: no limit but the session's */
	__u32 type;     /* target's capture program */
	__u32 stride;   /* EDGE_COUNTED: bytes of one element */
	__u8 count;     /* enum count_form */
	__u8 when;      /* enum edge_when: else it is not followed */
	__u8 flags;     /* enum edge_flag */
	__u8 per;       /* EDGE_COUNTED: elements of a container in one value, 0 for one */
	__u16 when_off;
	__u16 pad2;
	__u32 when_value;
	__u32 pad3;
};

#define ITAB_TYPE 8  /* offset of the dynamic type in a Go itab, 1.22 to 1.26 */
#define TYPE_KIND 23 /* offset of the kind, in the low 5 bits, in a Go runtime type, 1.22 to 1.26 */

/* What tells a dynamic type: key of the `dynamic` map. */
struct dynamic_key {
	__u32 file;    /* file number: types are found by their address in the file; 0: by their kind */
	__u32 pad;
	__u64 address; /* of Go's runtime type, of a closure's code, or of a vtable as objects have it, load bias taken off; or the kind */
};

struct dynamic_type {
	__u32 type;    /* capture program of the data word's target (or of the word itself when direct) */
	__u32 direct;  /* 1: the data word is the value, not a pointer to it */
	__s32 adjust;  /* C++: where the whole object begins, from where the vtable's address is; at most 0 */
	__u32 align;   /* Rust: bytes, a power of two, or 0 */
};

/*
 * Attach cookies: who a hit belongs to. Bits 0 to 23: function id. Bits 24 to 31: which of its
 * links it came through. Bits 40 to 63: the site's offset from func.address, signed, so that the
 * load bias is ip - address - offset.
 */
#define COOKIE_FUNC 0xffffff
#define COOKIE_LINK_SHIFT 24
#define COOKIE_TAIL (1ULL << 32)      /* a tail jump */
#define COOKIE_COND (1ULL << 33)      /* taken only under the condition in bits 36 to 39 */
#define COOKIE_EXIT (1ULL << 34)      /* the call ends there */
#define COOKIE_RETURNED (1ULL << 35)  /* of a uretprobe */
#define COOKIE_COND_SHIFT 36
#define COOKIE_OFFSET_SHIFT 40

enum process_flag {
	PROCESS_DYING = 1, /* a signal kills it: the first of its threads that learned of it has told */
};

/* A process in the `processes` map, by tgid. */
struct process {
	__u32 flags;   /* enum process_flag */
	__u32 pad;
	__u64 program; /* which one it runs: when it executed it, or came into the map, CLOCK_MONOTONIC, ns */
};

#define LIBC_SEVERAL 1 /* a load bias is a multiple of the page size */

/* Where a process has errno, in the `errnos` map, by tgid. */
struct errno_place {
	__s64 offset;  /* from the thread pointer, bytes */
	__u64 program; /* the process's; of another one it is elsewhere */
	__u64 libc;    /* load bias of the C library; LIBC_SEVERAL: there is more than one */
};

/* A program's file, as the kernel knows it: new processes of it are traced at once. */
struct image {
	__u64 inode;
	__u32 dev; /* major << 20 | minor */
	__u32 pad;
};

#define KEPT_WORDS 16 /* words of a root block that a frame keeps */

/* A call that is open. */
struct frame {
	__u64 pos;   /* position among its owner's frames: grows with depth */
	__u64 ts;    /* of entry, CLOCK_MONOTONIC, ns */
	__u64 saved; /* FUNC_SAVES: the register at entry */
	__u64 bias;  /* load bias of the function's file */
	__u32 func;  /* function id */
	__u32 flags; /* enum frame_flag */
	__u32 counted; /* the id under which the call is counted: an instance's of a generic function */
	__u32 mark;    /* of the innermost call up to this one whose entry was told (MARK_OF) */
	__u64 overhead; /* what the probes of the calls that it has made took, ns */
	__u32 missed; /* FRAME_WORDS: bit i: move i of the plan could not be read */
	__u32 pad;
	__u64 words[KEPT_WORDS]; /* FRAME_WORDS: the root block */
};

enum frame_flag {
	FRAME_TOLD = 1,      /* its entry is in a ring buffer: its exit is to follow */
	FRAME_HELD = 2,      /* its entry is held back */
	FRAME_LEFT_OUT = 4,  /* it is not recorded, by choice */
	FRAME_RETURNS = 8,   /* a uretprobe will see its return */
	FRAME_PASSED = 16,   /* a call above it at its position has returned: its own return must come next */
	FRAME_SYSTEM = 32,   /* Go on a thread's own stack: it may be left without a return */
	FRAME_COUNTED = 64,  /* its call has been counted */
	FRAME_GONE = 128,    /* it is no longer on the stack */
	FRAME_DOUBTED = 256, /* it may be */
	FRAME_CHOSEN = 512,  /* it, or a caller of it, was chosen among many: its callees are recorded, too */
	FRAME_WORDS = 1024,  /* the root block of its entry is kept */
	FRAME_LATE = 2048,   /* its entry is told if it fails: with what is held back, or kept */
	FRAME_LOST = 4096,   /* its entry was not told since the ring buffer was full */
	FRAME_CROWDED = 8192, /* or no scratch was free */
	FRAME_DEAD = 16384,  /* it was left without a return, which is yet to be told: since when, is in `saved` */
	FRAME_EPOCH = 65536, /* from here on: its function's, at its entry */
};

#define NEAR_FRAMES 8

/* Where frames beyond NEAR_FRAMES, and entries that are held back, are kept. */
struct frame_key {
	__u64 owner; /* thread id, or address of the goroutine */
	__u32 tgid;
	__u32 index; /* among the owner's frames */
};

/* A thread or goroutine, and its open calls. */
struct owner {
	__u64 key;     /* thread id, or address of the goroutine */
	__u64 goid;    /* 0: a thread */
	__u64 last;    /* when something was last heard of it, ns */
	__u64 raised;  /* when something was last raised, ns */
	__u64 panic;   /* OWNER_PANICS: the position of what raised it */
	__u64 low, high; /* the mapping of the stack that it was last on */
	__u64 top;     /* Go: the upper end of the stack at the last hit; 0 when it isn't known */
	__u64 sweep_at; /* what is looked for: position, enum sweep or function, index */
	__u32 sweep, sweep_from, cursor;
	__u32 tgid;
	__u32 n;       /* frames */
	__u32 held;    /* of them those whose entry is held back */
	__u32 flags;   /* enum owner_flag */
	__u32 doubts;  /* frames that may be gone */
	__u32 dead;    /* of which it is yet to be told that they have failed */
	__u32 gone;    /* frames that are gone and lie below others, when it was last looked */
	struct frame_key at; /* of the frame that is looked up */
	struct frame spare;  /* that is put into a map */
	struct frame near[NEAR_FRAMES];
};

enum owner_flag {
	OWNER_MIXED = 1,  /* positions do not ascend: there are several stacks */
	OWNER_PANICS = 2, /* a Go panic is in flight */
	OWNER_FORCED = 4, /* the thread is being ended (pthread_exit, cancellation) */
};

#define MAX_HELD 1024 /* bytes of an entry that can be held back; a longer one is delivered at once */

struct held {
	struct stamped head;
	__u8 data[MAX_HELD - sizeof(struct stamped)];
};

/* What became of a function's calls, counted per CPU. */
struct counters {
	__u64 untimed;  /* that are over without having ended, or whose duration found no room; the others are in struct latency */
	__u64 untimed_failed;   /* of those: that failed */
	__u64 untimed_left_out; /* that were not recorded by choice */
	__u64 lost_entries; /* the ring buffer was full: calls not recorded */
	__u64 lost_exits;
	__u64 crowded_entries; /* no scratch was free: too many threads waited for memory inside of probes */
	__u64 crowded_exits;
	__u64 copying;  /* time that it took to copy values that are not flat, ns */
	__u64 others;   /* its entries by processes that are not traced, but have the same file */
};

#define ROLES 16

/* What the functions of a role take, counted per CPU. */
struct notes {
	__u64 hits;
	__u64 stacks;    /* that came with the stack */
	__u64 stackless; /* that did not, by choice */
	__u64 took;      /* time that all took from when they were timed, ns */
	__u64 stacking;  /* of that those that came with the stack */
};

#define CALLERS_EVERY 16  /* so many hits of a glimpse are between two of which is noted where they come from */
#define MAX_CALLERS 4096  /* places that are noted */

/* Where a function was called from: key of the `callers` map. */
struct caller {
	__u32 func;    /* function id */
	__u32 tgid;
	__u64 address; /* to which the call returns; 0: it could not be read */
};

#define LATENCY_BITS 4

/*
 * The calls of a function whose durations are of one power of two, in equal parts; octave 0: below
 * 2^LATENCY_BITS. Two cache lines.
 */
struct latency {
	__u32 octave;
	__u32 func;    /* 0: it is nobody's */
	__u64 total;   /* sum of the durations, ns */
	__u64 overhead; /* sum of the probes' share in them, ns */
	__u64 outermost; /* sum of the durations of those that no traced call has made, ns */
	__u64 longest; /* ns */
	__u64 left_out; /* how many were not recorded by choice */
	__u64 failed;  /* how many failed */
	__u64 pad;
	__u32 buckets[1 << LATENCY_BITS];
};

#endif
