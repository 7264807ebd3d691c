/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The calls that are open, and the statistics of those that have ended. Both are kept here,
 * whatever becomes of events, so that counts and latencies are exact.
 *
 * Each thread and each goroutine (an owner) has a stack of frames. An owner's frames are only
 * touched by probes that it hits itself, one after the other.
 *
 * Included by probe.bpf.c.
 */
#ifndef OBSERVATORY_TRACE_CALLS_H
#define OBSERVATORY_TRACE_CALLS_H

#define SHARE_EVERY 64
#define NEAR_THREADS 1024
#define MAX_DOUBTS 32 /* frames of one thread that may be gone */
#define MAX_GONE 16   /* frames that are gone and lie below others, until these move down */

/* What is known of a hit before its values are. */
struct hit {
	__u64 ts;
	__u64 cpu;
	__u64 cookie;
	__u64 pos;  /* as the event has it */
	__u64 at;   /* the position among its owner's frames */
	__u64 goid;
	__u64 g;    /* address of the goroutine; 0: the thread is the owner */
	__u64 saved; /* exit: what FUNC_SAVES kept; 0 when it isn't known */
	__u64 word;  /* that is being read */
	__u64 bias;  /* load bias of the function's file; 0 when it isn't known: a uretprobe doesn't tell */
	__u8 kind;
	__u8 flags;
	__u8 failed; /* exit: the result says that the call failed */
	__u8 stack;  /* enum stack_wish */
	__u8 pad[4];
	__u32 inside; /* mark of the innermost call that is open and was told */
	__u32 counted; /* the id under which the call is counted */
	__u64 high;  /* Go: the upper end of the stack; 0 when it isn't known */
	__u64 more;  /* as the event has it */
	__u64 spent; /* time that it took to copy values, ns */
	__s32 index; /* exit: of the frame that returns; -1 for none */
	__u32 state; /* of its function (enum control_state): one for all of the hit, it may be changed meanwhile */
};

/* Whether an event comes with the stack, where it may. */
enum stack_wish {
	STACK_WANTED = 0,
	STACK_NEEDLESS = 1, /* no call is open that could fail by what is raised, or it was told */
	STACK_LEFT_OUT = 2, /* of what is raised, by chance not of this */
};

/* By thread id. Its owner's key is that, or 0 where nobody is. */
struct thread {
	struct hit hit;
	__u64 thrown; /* where an exception was last thrown: the unwinder, which is called next, need not tell it again */
	__u32 entries; /* of calls, modulo 2^32 */
	__u32 pick;    /* which of SHARE_EVERY of them is one of the shares */
	struct owner owner;
};

/* By process and address of the goroutine: those that have ended leave theirs to the next. */
struct goroutine_key {
	__u64 g;
	__u32 tgid;
	__u32 pad;
};

struct latency_key {
	__u32 func;
	__u32 octave;
};

struct share_key {
	__u32 tgid;
	__u32 func;
};

/* The threads that are the first at their place, by thread id modulo NEAR_THREADS, which are found without hashing; and the others. */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct thread); __uint(max_entries, NEAR_THREADS); } near_threads SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, __u32); __type(value, struct thread); __uint(max_entries, 1 << 16); } threads SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct goroutine_key); __type(value, struct owner); __uint(max_entries, 1 << 18); } goroutines SEC(".maps");
/* The frames beyond NEAR_FRAMES, and the entries that are held back. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct frame_key); __type(value, struct frame); __uint(max_entries, 1 << 18); } deep SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct frame_key); __type(value, struct held); __uint(max_entries, 1 << 16); } held SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, __u32); __type(value, struct counters); __uint(max_entries, 1); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, __u32); __type(value, struct notes); __uint(max_entries, ROLES); } notes SEC(".maps"); /* by role */
/* So many for each processor, one processor's behind another's; see near_latency. */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct latency); __uint(max_entries, 1); } latencies SEC(".maps");
/* Those that find no room there. */
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct latency_key); __type(value, struct latency); __uint(max_entries, 1 << 17); } far_latencies SEC(".maps");
/* Which process makes which function's calls: of SHARE_EVERY calls that a thread begins one, by chance, is counted. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct share_key); __type(value, __u64); __uint(max_entries, 1 << 15); } shares SEC(".maps");
/* All zero: what new entries of the maps above begin as. */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct thread); __uint(max_entries, 1); } blank SEC(".maps");

/* Of SHARE_EVERY calls that a thread has begun one, of all functions and processes. */
__u64 begun = 0;

__u32 has_far_latencies = 0; /* there are some: the map of them is worth reading */

/* Calls that have no frame, since a map was full, and durations that are in no histogram. */
__u64 untracked = 0;
__u64 unmeasured = 0;

static __always_inline __u32 log2_of(__u64 v)
{
	__u32 n = 0;

	if (v >> 32) { v >>= 32; n = 32; }
	if (v >> 16) { v >>= 16; n += 16; }
	if (v >> 8) { v >>= 8; n += 8; }
	if (v >> 4) { v >>= 4; n += 4; }
	if (v >> 2) { v >>= 2; n += 2; }
	return n + (v >> 1);
}

static long nothing(__u64 i, void *arg)
{
	return 0;
}

/*
 * Adds an element to a map that allocates as it grows: an error, or 0. Its reserve of memory is
 * filled up by an interrupt, which may come late, and its lock may be held by what was interrupted: so it
 * is waited for, each time twice as long, some milliseconds in all.
 */
#define ADD(map, key, value, flags) ({						\
	long __e = -ENOMEM;							\
	for (int __i = 0; __e && __e != -E2BIG && __e != -EEXIST && __i < 22; __i++) { \
		__e = bpf_map_update_elem(map, key, value, flags);		\
		if (__e)							\
			bpf_loop(1 << __i, nothing, NULL, 0);			\
	}									\
	__e;									\
})
#define E2BIG 7
#define EEXIST 17
#define ENOMEM 12

/* How a call ended. */
enum ending {
	ENDED_OK = 0,
	ENDED_ERR = 1,
	ENDED_OPEN = 2, /* it has not ended, but its thread has, or somebody else took its place; or nothing can be said of its time */
	ENDED_LEFT_OUT = 4, /* or-ed to those: it is not recorded, by choice */
	ENDED_LOST = 8,     /* or since the ring buffer was full */
	ENDED_CROWDED = 16, /* or no scratch was free */
	ENDED_OUTERMOST = 32, /* no traced call has made it */
};

static __noinline struct latency *new_latency(struct latency_key *key)
{
	__u32 zero = 0;
	void *none = bpf_map_lookup_elem(&blank, &zero);

	has_far_latencies = 1;
	if (none)
		ADD(&far_latencies, key, none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&far_latencies, key);
}

/* Adjacent octaves of a function lie side by side, at a place that its id tells, or, where somebody else is, at one of the next ones. */
static __always_inline struct latency *near_latency(struct latency_key *key)
{
	__u64 owner, wanted = (__u64)key->func << 32 | key->octave;
	__u32 first = bpf_get_smp_processor_id() * near_latencies;
	__u32 at = key->func * 4 + key->octave % 4;

	for (int i = 0; i < 8; i++, at += 4) {
		__u32 k = first + at % near_latencies;
		struct latency *l = bpf_map_lookup_elem(&latencies, &k);

		if (!l)
			return NULL;
		owner = *(volatile __u64 *)l;
		if (!owner)
			owner = __sync_val_compare_and_swap((__u64 *)l, 0, wanted) ?: wanted;
		if (owner == wanted)
			return l;
	}
	return NULL;
}

/*
 * Programs don't change the processor, so what is per-CPU belongs to one that can't be preempted: it
 * adds without the lock that makes an addition take five times as long. (Since Linux 6.10.)
 */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

#define ADD_TO(p, n) ({						\
	if (bpf_preempt_disable)				\
		*(volatile typeof(*(p)) *)(p) += (n);		\
	else							\
		__sync_fetch_and_add(p, n);			\
})

/* Adds a duration to its bucket (see HistogramBucket in trace/): false when there is no room for it. */
__noinline int measure(__u32 func, __u64 ns, __u64 overhead, __u32 how)
{
	struct latency_key key = { .func = func };
	struct latency *l;
	__u64 part = ns;
	__u32 shift;

	if (ns >> LATENCY_BITS) {
		shift = log2_of(ns) - LATENCY_BITS;
		key.octave = shift + 1;
		part >>= shift;
	}
	l = near_latency(&key);
	if (!l)
		l = bpf_map_lookup_elem(&far_latencies, &key);
	if (!l)
		l = new_latency(&key);
	if (!l) {
		__sync_fetch_and_add(&unmeasured, 1);
		return false;
	}
	if (bpf_preempt_disable)
		bpf_preempt_disable();
	ADD_TO(&l->total, ns);
	ADD_TO(&l->overhead, overhead);
	if (how & ENDED_OUTERMOST)
		ADD_TO(&l->outermost, ns);
	if (how & ENDED_LEFT_OUT)
		ADD_TO(&l->left_out, 1);
	if (how & ENDED_ERR)
		ADD_TO(&l->failed, 1);
	if (ns > l->longest)
		l->longest = ns; /* before Linux 6.10 another thread's may get lost for it, if both are there at this moment */
	ADD_TO(&l->buckets[bounded(part, 1 << LATENCY_BITS)], 1);
	if (bpf_preempt_enable)
		bpf_preempt_enable();
	return true;
}

/* Why a call is not recorded, of enum ending. */
static __always_inline __u32 fate_of(struct frame *f)
{
	return (f->flags & FRAME_LEFT_OUT ? ENDED_LEFT_OUT : 0) | (f->flags & FRAME_LOST ? ENDED_LOST : 0) |
	       (f->flags & FRAME_CROWDED ? ENDED_CROWDED : 0);
}

/* Counts a call that is over. */
static __always_inline void tally(__u32 func, __u64 ns, __u32 how, __u64 overhead)
{
	struct counters *c;

	if (!(how & ENDED_OPEN)) {
		if (measure(func, ns, overhead, how))
			how &= ~(ENDED_LEFT_OUT | ENDED_ERR);
		else
			how |= ENDED_OPEN;
	}
	if (!(how & ~ENDED_OUTERMOST))
		return;
	c = bpf_map_lookup_elem(&counts, &func);
	if (!c)
		return;
	if (how & ENDED_OPEN)
		__sync_fetch_and_add(&c->untimed, 1);
	if (how & ENDED_ERR)
		__sync_fetch_and_add(&c->untimed_failed, 1);
	if (how & ENDED_LEFT_OUT)
		__sync_fetch_and_add(&c->untimed_left_out, 1);
	if (how & ENDED_LOST)
		__sync_fetch_and_add(&c->lost_entries, 1);
	if (how & ENDED_CROWDED)
		__sync_fetch_and_add(&c->crowded_entries, 1);
}

static __always_inline struct frame_key *key_of(struct owner *o, __u32 i)
{
	o->at.owner = o->key;
	o->at.tgid = o->tgid;
	o->at.index = i;
	return &o->at;
}

static __always_inline struct frame *frame_at(struct owner *o, __u32 i)
{
	if (i < NEAR_FRAMES)
		return &o->near[bounded(i, NEAR_FRAMES)];
	return bpf_map_lookup_elem(&deep, key_of(o, i));
}

/* Takes the top frame away. */
static __always_inline void pop(struct owner *o)
{
	__u32 i = o->n - 1;

	if (i >= NEAR_FRAMES)
		bpf_map_delete_elem(&deep, key_of(o, i));
	o->n = i;
}

static __always_inline bool is_goroutine(struct owner *o)
{
	return o->goid != 0;
}

static long keep_bounds(struct task_struct *task, struct vm_area_struct *vma, struct owner **arg)
{
	(*arg)->low = vma->vm_start;
	(*arg)->high = vma->vm_end;
	return 0;
}

/*
 * Whether a frame lies on the stack that position `at` is on: a thread may have several, of
 * coroutines and of signal handlers, whose positions say nothing of each other.
 */
static __always_inline bool same_stack(struct owner *o, struct frame *f, __u64 at)
{
	__u64 there = ~f->pos, here = ~at;

	if (is_goroutine(o) || (there > here ? there - here : here - there) < 4096)
		return true;
	if (here < o->low || here >= o->high) {
		o->low = o->high = 0;
		bpf_find_vma(bpf_get_current_task_btf(), here, keep_bounds, &o, 0);
		/* It is being changed at this moment: then not far is near enough. */
		if (!o->high)
			return (there > here ? there - here : here - there) < 65536;
	}
	return there >= o->low && there < o->high;
}

/* Forgets the entry that was held back for a frame. */
static __always_inline void let_go(struct owner *o, struct frame *f, __u32 i)
{
	f->flags &= ~FRAME_HELD;
	o->held--;
	bpf_map_delete_elem(&held, key_of(o, i));
}

/* Delivers the entry that was held back for a frame. */
static __always_inline void bring(struct owner *o, struct frame *f, __u32 i)
{
	struct held *h = bpf_map_lookup_elem(&held, key_of(o, i));
	__u32 size;

	f->flags |= FRAME_LOST | FRAME_LATE;
	if (h) {
		size = h->head.event.size;
		if (size > sizeof(*h) - sizeof(h->head.after))
			size = sizeof(*h) - sizeof(h->head.after);
		if (!bpf_ringbuf_output(&events, &h->head.event, size, wake_flags(0, size)))
			f->flags = (f->flags & ~(FRAME_LOST | FRAME_LATE)) | FRAME_TOLD;
	}
	let_go(o, f, i);
}

static long bring_one(__u64 i, struct owner **arg)
{
	struct owner *o = *arg;
	struct frame *f = frame_at(o, i);

	if (f && f->flags & FRAME_HELD && !(f->flags & FRAME_LEFT_OUT))
		bring(o, f, i);
	return !o->held;
}

/* Delivers the entries that were held back for the lowest n frames, in their order, but for those of calls that are left out. */
__noinline int bring_all(struct owner *o, __u32 n)
{
	if (o)
		bpf_loop(n, bring_one, &o, 0);
	return 0;
}

/* Whether a frame's function was detached since its call began: nobody has seen how it ended. */
static __always_inline bool is_unseen(struct frame *f)
{
	struct func *func = function_of(f->func);

	return func && (func->control.state ^ f->flags) / CONTROL_EPOCH;
}

/*
 * A frame is gone without a return: counts its call. One that was not told of is to be, since
 * it has failed: then it stays until that is done.
 */
static __always_inline void die(struct owner *o, struct frame *f)
{
	__u32 how = ENDED_ERR, kept = 0;

	if (!(f->flags & FRAME_COUNTED)) {
		/* Go's scheduler leaves such frames on a thread's own stack, which is no failure. */
		if (f->flags & FRAME_SYSTEM || is_unseen(f))
			how = ENDED_OPEN;
		/* Nobody has seen when it was left. */
		if (how == ENDED_ERR && o->raised <= f->ts)
			how |= ENDED_OPEN;
		if (how & ENDED_ERR && f->flags & FRAME_LATE) {
			kept = (f->flags & (FRAME_LATE | FRAME_HELD | FRAME_WORDS)) | FRAME_DEAD;
			f->saved = o->last > f->ts ? o->last : f->ts;
			o->dead++;
		} else {
			how |= fate_of(f);
		}
		tally(f->counted, o->last > f->ts ? o->last - f->ts : 0, how, f->overhead);
	}
	if (f->flags & FRAME_DOUBTED)
		o->doubts--;
	f->flags = FRAME_COUNTED | FRAME_GONE | kept;
}

/*
 * A frame seems to be gone, and nothing tells of what: coroutines may have their stacks in one
 * mapping. It stays until another call takes its position, or there are too many of its kind.
 */
static __always_inline void doubt(struct owner *o, struct frame *f)
{
	if (f->flags & FRAME_DOUBTED)
		return;
	f->flags |= FRAME_DOUBTED;
	o->flags |= OWNER_MIXED;
	o->doubts++;
}

/* Which frames are dead when something happens at a position: the deeper ones, and of those at it: */
enum sweep {
	SWEEP_ENTRY = 0, /* all but those whose return, by a uretprobe, is still to come */
	SWEEP_EXIT = 1,  /* those above the frame that returns */
	SWEEP_STRAY = 2, /* those that no uretprobe will return from: a return without a frame */
	SWEEP_CATCH = 3, /* all */
	SWEEP_GONE = 4,  /* no other ones: the gone ones at the top are taken away */
};

static __always_inline bool is_dead(struct owner *o, struct frame *f, __u32 i)
{
	if (o->sweep == SWEEP_GONE)
		return false;
	if (f->pos != o->sweep_at)
		return f->pos > o->sweep_at;
	switch (o->sweep) {
	case SWEEP_ENTRY:
		return !(f->flags & FRAME_RETURNS) || f->flags & FRAME_PASSED || o->raised > f->ts;
	case SWEEP_EXIT:
		return i > o->sweep_from;
	case SWEEP_STRAY:
		return !(f->flags & FRAME_RETURNS);
	}
	return true;
}

/* The frame below the one that was looked at before, at o->cursor; NULL when there is none. */
static __always_inline struct frame *next_frame(struct owner *o)
{
	return o->cursor ? frame_at(o, --o->cursor) : NULL;
}

/* Whether a frame that is dead by its position can't be of another stack in the same mapping. */
static __always_inline bool is_certain(struct owner *o, struct frame *f)
{
	return f->pos == o->sweep_at || o->sweep == SWEEP_CATCH || is_goroutine(o) || o->raised > f->ts ||
	       f->flags & (FRAME_COUNTED | FRAME_SYSTEM);
}

static long sweep_one(__u64 k, struct owner **arg)
{
	struct owner *o = *arg;
	struct frame *f = next_frame(o);

	if (!f)
		return 1;
	if (!(f->flags & FRAME_GONE)) {
		if (!(o->flags & OWNER_MIXED) && f->pos < o->sweep_at)
			return 1;
		if (!is_dead(o, f, o->cursor) || !same_stack(o, f, o->sweep_at))
			return o->sweep == SWEEP_GONE;
		if (is_certain(o, f))
			die(o, f);
		else
			doubt(o, f);
	}
	if (f->flags & FRAME_GONE && !(f->flags & FRAME_DEAD)) {
		if (o->cursor == o->n - 1)
			pop(o);
		else
			o->gone++;
	}
	return 0;
}

/* Has the entry that is held back for frame i be that of the one at the cursor. */
static __always_inline void move_held(struct owner *o, __u32 i)
{
	struct held *h = bpf_map_lookup_elem(&held, key_of(o, i));

	if (!h)
		return;
	bpf_map_update_elem(&held, key_of(o, o->cursor), h, BPF_ANY);
	bpf_map_delete_elem(&held, key_of(o, i));
}

static long move_one(__u64 i, struct owner **arg)
{
	struct owner *o = *arg;
	struct frame *f = frame_at(o, i), *to;

	if (!f)
		return 1;
	if (f->flags & FRAME_GONE && !(f->flags & FRAME_DEAD))
		return 0;
	if (i != o->cursor) {
		to = frame_at(o, o->cursor);
		if (!to)
			return 1;
		*to = *f;
		if (f->flags & FRAME_HELD)
			move_held(o, i);
	}
	o->cursor++;
	return 0;
}

static long pop_one(__u64 i, struct owner **arg)
{
	pop(*arg);
	return 0;
}

/*
 * Has frames move down that lie above such as are gone: where nobody sees what unwinds a thread, these would pile up.
 */
static __noinline void close_ranks(struct owner *o)
{
	o->cursor = 0;
	bpf_loop(o->n, move_one, &o, 0);
	if (o->cursor < o->n)
		bpf_loop(o->n - o->cursor, pop_one, &o, 0);
}

/* Gives up the oldest of the frames that are in doubt. */
static long give_up(__u64 i, struct owner **arg)
{
	struct owner *o = *arg;
	struct frame *f = frame_at(o, i);

	if (f && f->flags & FRAME_DOUBTED)
		die(o, f);
	return o->doubts <= MAX_DOUBTS;
}

/* Closes the frames that are dead: enum sweep. */
__noinline int sweep(struct owner *o, __u64 at, __u32 how, __u32 from)
{
	if (!o || !o->n)
		return 0;
	/* Whoever pairs events must see the entries of what has died. */
	if (o->held)
		bring_all(o, o->n);
	o->sweep_at = at;
	o->sweep = how;
	o->sweep_from = from;
	o->cursor = o->n;
	o->gone = 0;
	bpf_loop(o->n, sweep_one, &o, 0);
	if (o->doubts > MAX_DOUBTS)
		bpf_loop(o->n, give_up, &o, 0);
	/* Others may know frames by their index. */
	if (o->gone > MAX_GONE && how == SWEEP_ENTRY)
		close_ranks(o);
	if (!o->n)
		o->flags &= ~OWNER_MIXED;
	return 0;
}

static long find_one(__u64 k, struct owner **arg)
{
	struct owner *o = *arg;
	struct frame *f = next_frame(o);

	if (!f)
		return 1;
	if (f->func == o->sweep && f->pos == o->sweep_at && !(f->flags & FRAME_GONE)) {
		o->sweep_from = o->cursor;
		return 1;
	}
	return !(o->flags & OWNER_MIXED) && !(f->flags & FRAME_GONE) && f->pos < o->sweep_at;
}

/* The frame of a function at a position: its index, or -1. */
__noinline int find(struct owner *o, __u64 at, __u32 func)
{
	if (!o || !o->n)
		return -1;
	o->sweep_at = at;
	o->sweep = func;
	o->sweep_from = -1;
	o->cursor = o->n;
	bpf_loop(o->n, find_one, &o, 0);
	return o->sweep_from;
}

/* Makes the spare frame an owner's innermost. Without room for it its call is counted at once. */
__noinline int push_deep(struct owner *o)
{
	if (!o)
		return 0;
	if (ADD(&deep, key_of(o, o->n), &o->spare, BPF_ANY)) {
		if (o->spare.flags & FRAME_HELD)
			let_go(o, &o->spare, o->n);
		__sync_fetch_and_add(&untracked, 1);
		tally(o->spare.counted, 0, ENDED_OPEN | fate_of(&o->spare), 0);
		return 0;
	}
	o->n++;
	return 0;
}

/* Where the frame of the call that begins is filled in. */
static __always_inline struct frame *next_slot(struct owner *o)
{
	return o->n < NEAR_FRAMES ? &o->near[bounded(o->n, NEAR_FRAMES)] : &o->spare;
}

/* The mark of the innermost call of an owner that is open and was told. */
static __always_inline __u32 innermost(struct owner *o)
{
	struct frame *top;

	if (!o->n)
		return MARK_NONE;
	top = frame_at(o, o->n - 1);
	return top ? top->mark : 0;
}

/* Whether a frame's entry is told, or will be before that of any call that it makes. */
static __always_inline bool is_told(__u32 flags)
{
	return flags & FRAME_TOLD || (flags & (FRAME_HELD | FRAME_LEFT_OUT)) == FRAME_HELD;
}

/* Begins a call. */
static __always_inline void push(struct owner *o, struct hit *h, __u32 flags, __u64 kept)
{
	struct frame *f = next_slot(o);

	f->pos = h->at;
	f->ts = h->ts;
	f->func = (__u32)h->cookie & COOKIE_FUNC;
	f->flags = flags;
	f->saved = kept;
	f->bias = h->bias;
	f->counted = h->counted;
	f->overhead = h->spent;
	f->mark = is_told(flags) ? MARK_OF(h->ts) : h->inside;
	if (o->n < NEAR_FRAMES)
		o->n++;
	else
		push_deep(o);
}

/* The call whose frame has that index has returned: its frame goes. Its caller gets the time that its probes took. */
static __always_inline void finish(struct owner *o, __u32 i, __u64 at, __u64 spent)
{
	struct frame *f = frame_at(o, i);

	if (f && f->flags & FRAME_DOUBTED)
		o->doubts--;
	if (i == o->n - 1)
		pop(o);
	else if (f)
		f->flags = FRAME_COUNTED | FRAME_GONE;
	if (!o->n) {
		o->flags &= ~OWNER_MIXED;
		return;
	}
	f = frame_at(o, o->n - 1);
	if (f && f->flags & FRAME_GONE) {
		sweep(o, 0, SWEEP_GONE, 0);
		f = o->n ? frame_at(o, o->n - 1) : NULL;
	}
	if (!f)
		return;
	if (f->pos == at)
		f->flags |= FRAME_PASSED;
	f->overhead += spent;
}

/* Counts a call for its process. Without room for it, it is not. */
static __noinline void add_share(struct thread *t)
{
	struct share_key key = { .tgid = t->owner.tgid, .func = (__u32)t->hit.cookie & COOKIE_FUNC };
	__u64 *n = bpf_map_lookup_elem(&shares, &key), none = 0;

	if (!n) {
		bpf_map_update_elem(&shares, &key, &none, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&shares, &key);
	}
	if (n)
		__sync_fetch_and_add(n, 1);
	__sync_fetch_and_add(&begun, 1);
}

/*
 * Has one of each SHARE_EVERY calls of a thread counted, whichever it is: so that calls which take
 * turns, and threads that make few of them, have their share.
 */
static __always_inline void share(struct thread *t)
{
	if (!(t->entries % SHARE_EVERY))
		t->pick = bpf_get_prandom_u32() % SHARE_EVERY;
	if (t->entries++ % SHARE_EVERY == t->pick)
		add_share(t);
}

static __always_inline struct thread *place_of(__u32 tid)
{
	__u32 k = tid % NEAR_THREADS;

	return bpf_map_lookup_elem(&near_threads, &k);
}

/* The thread of an id; NULL when it is not known. */
static __noinline struct thread *known_thread(__u32 tid)
{
	struct thread *t = place_of(tid);

	return t && t->owner.key == tid ? t : bpf_map_lookup_elem(&threads, &tid);
}

/* Leaves a thread's place to others. Nobody but the thread itself is there, and it has ended. */
static __always_inline void forget_thread(struct thread *t, __u32 tid)
{
	if (t == place_of(tid))
		__sync_lock_test_and_set(&t->owner.key, 0);
	else
		bpf_map_delete_elem(&threads, &tid);
}

/* A place that is the current thread's from now on; NULL when it is another's. */
static __always_inline struct thread *near_thread(__u32 tid)
{
	struct thread *t = place_of(tid);

	if (!t || (t->owner.key != tid && __sync_val_compare_and_swap(&t->owner.key, 0, tid)))
		return NULL;
	__builtin_memset(&t->hit, 0, sizeof(t->hit));
	t->thrown = 0;
	t->entries = 0;
	__builtin_memset(&t->owner.goid, 0, offsetof(struct owner, at) - offsetof(struct owner, goid));
	return t;
}

/* A thread that is traced; NULL when its process is not, or there is no room. */
static __noinline struct thread *new_thread(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = id, tgid = id >> 32, zero = 0;
	struct thread *t;
	void *none;

	if (!bpf_map_lookup_elem(&processes, &tgid))
		return NULL;
	t = near_thread(tid);
	if (!t) {
		none = bpf_map_lookup_elem(&blank, &zero);
		if (!none || ADD(&threads, &tid, none, BPF_ANY))
			return NULL;
		t = bpf_map_lookup_elem(&threads, &tid);
		if (!t)
			return NULL;
		t->owner.key = tid;
	}
	t->owner.tgid = tgid;
	return t;
}

static __always_inline struct thread *thread_of(struct task_struct *task)
{
	__u32 tid = task->pid;
	struct thread *t = place_of(tid);

	if (t && t->owner.key == tid && t->owner.tgid == task->tgid)
		return t;
	t = bpf_map_lookup_elem(&threads, &tid);
	if (t && t->owner.tgid == task->tgid)
		return t;
	return new_thread();
}

static __noinline struct owner *new_goroutine(struct thread *t)
{
	struct goroutine_key key = { .g = t->hit.g, .tgid = t->owner.tgid };
	struct owner *o;
	__u32 zero = 0;
	void *none;

	o = bpf_map_lookup_elem(&goroutines, &key);
	if (!o) {
		none = bpf_map_lookup_elem(&blank, &zero);
		if (!none || ADD(&goroutines, &key, none, BPF_ANY))
			return NULL;
		o = bpf_map_lookup_elem(&goroutines, &key);
		if (!o)
			return NULL;
		o->key = key.g;
		o->tgid = key.tgid;
	}
	return o;
}
#endif
