//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The one program set that every traced function runs, whatever its signature: what
 * to copy comes from maps (functions, moves, programs, edges), what was copied goes to
 * one ring buffer, whose order is the order of the events.
 *
 * The uprobe programs are sleepable, so that values on pages that are not resident are
 * read, not lost. They can be preempted and can sleep: nothing per-CPU is kept across a
 * helper, and no ring-buffer record is held reserved while memory is read.
 *
 * That goes for the stack, too. Since Linux 6.13 a function of 64 bytes of stack or more
 * (BPF_PRIV_STACK_MIN_SIZE, after rounding up to 16) has it in per-CPU memory, on the
 * assumption that no program runs twice at once on a processor, which nothing sees to for
 * uprobe_multi. So no function that a uprobe runs uses more than 48 bytes; variables live
 * in struct scratch. A test holds that.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "event.h"
#include "arch.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* CO-RE declarations: only the fields that are read. */
struct super_block { __u32 s_dev; } __attribute__((preserve_access_index));
struct inode { unsigned long i_ino; struct super_block *i_sb; } __attribute__((preserve_access_index));
struct file { struct inode *f_inode; } __attribute__((preserve_access_index));
struct linux_binprm { struct file *file; const char *filename; } __attribute__((preserve_access_index));
struct counter { int counter; };
struct return_instance { unsigned long stack, orig_ret_vaddr; struct return_instance *next; } __attribute__((preserve_access_index));
struct uprobe_task { struct return_instance *return_instances; } __attribute__((preserve_access_index));
struct xol_area { unsigned long vaddr; } __attribute__((preserve_access_index));
struct uprobes_state { struct xol_area *xol_area; } __attribute__((preserve_access_index));
struct sigaction { void *sa_handler; } __attribute__((preserve_access_index));
struct k_sigaction { struct sigaction sa; } __attribute__((preserve_access_index));
struct signal_struct { struct counter live; int nr_threads; int group_exit_code; unsigned long long sum_sched_runtime; } __attribute__((preserve_access_index));
struct percpu_counter { __s64 count; } __attribute__((preserve_access_index));
enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES, NR_MM_COUNTERS };
struct vm_area_struct { unsigned long vm_start, vm_end; } __attribute__((preserve_access_index));
struct mm_struct {
	struct counter mm_users;
	struct percpu_counter rss_stat[NR_MM_COUNTERS]; /* since Linux 6.2 */
	struct uprobes_state uprobes_state;
} __attribute__((preserve_access_index));
struct rq { __u64 clock, clock_task; } __attribute__((preserve_access_index));
struct cfs_rq { struct rq *rq; } __attribute__((preserve_access_index));
struct sched_entity {
	__u64 exec_start, sum_exec_runtime;
	struct cfs_rq *cfs_rq; /* with CONFIG_FAIR_GROUP_SCHED */
} __attribute__((preserve_access_index));
struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct uprobe_task *utask;
	struct sched_entity se;
	unsigned long nvcsw, nivcsw, min_flt, maj_flt;
	struct thread_struct thread;
} __attribute__((preserve_access_index));

struct raw_tracepoint { __u64 args[3]; };

/* Settings, fixed at load. */
const volatile __u32 follow_children = 1; /* a traced process's children are traced */
const volatile __u32 stats_only = 0;      /* calls are only counted */
const volatile __u32 report_execs = 0;    /* tell of every exec: some program yet to start is wanted */
const volatile __u32 leave_others = 0;    /* take the probes out of processes that are not traced */
const volatile __u32 max_string = 256;    /* bytes of a string */
const volatile __u32 max_items = 64;      /* elements of a slice */
const volatile __u32 max_depth = 4;       /* pointers followed one behind the other */
const volatile __u32 max_bytes = MAX_DATA; /* bytes of data per event */
const volatile __u32 wake_bytes = 1 << 20; /* a power of two: the reader is woken once for so much written; else it polls */
const volatile __u32 pool_size = 64;      /* entries of the pool */
const volatile __u32 near_latencies = 1;  /* of each processor; a power of two */

/* Everything is attached first; then this is set, and events begin. */
__u32 active = 0;

/* Forks, execs and deaths that found the ring buffer full. */
__u64 lost_process_events = 0;

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct func); __uint(max_entries, 1); } functions SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct move); __uint(max_entries, 1); } moves SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct check); __uint(max_entries, 1); } checks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct type_prog); __uint(max_entries, 1); } programs SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct edge); __uint(max_entries, 1); } edges SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct dynamic_key); __type(value, struct dynamic_type); __uint(max_entries, 1); } dynamic SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct instance_key); __type(value, __u32); __uint(max_entries, 1 << 15); } instances SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, struct process); __uint(max_entries, 16384); } processes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, struct errno_place); __uint(max_entries, 16384); } errnos SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct image); __type(value, struct process); __uint(max_entries, 1024); } images SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 24); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 23); } errors SEC(".maps"); /* of struct stamped */

#define MAX_NESTED 64 /* uretprobes of one thread that wait for returns (MAX_URETPROBE_DEPTH) */

/* What became of an event. */
enum outcome {
	DELIVERED = 0,
	LOST = 1,    /* the ring buffer is full */
	CROWDED = 2, /* no scratch is free */
	HELD = 3,    /* kept back */
};

struct item {
	__u64 addr;
	__u32 type;
	__u32 want;  /* bytes of the whole value */
	__u32 size;  /* bytes to copy, at most */
	__u16 depth; /* pointers followed to get here */
	__u16 text;  /* ends at a NUL */
};

/* Captured bytes of a type: data[base] to data[base + len]. */
struct span {
	__u32 base, len, type, depth;
};

struct walk {
	__u64 bias; /* load bias of the function's file */
	__u32 file;
	__u32 head, tail;
	__u32 used; /* bytes of data */
	__u32 truncated;
	__u32 pad;
};

/*
 * Where an event is put together, and where its variables live. What of data lies behind
 * MAX_RECORD is never filled: it lets the verifier see that offset + length stay inside,
 * each being below a power of two.
 */
struct scratch {
	__u32 busy;
	__u32 slot;
	struct walk walk;
	struct span span; /* whose pointers are being followed */
	struct item item; /* about to be queued */
	struct dynamic_key key;
	__u64 word[2];
	__u64 saved; /* SOURCE_SAVED; 0 when it isn't known */
	struct item queue[MAX_BLOCKS];
	__u64 after; /* with the event, a struct stamped */
	struct event event;
	__u8 data[4 * MAX_DATA];
};
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct scratch); __uint(max_entries, 64); } pool SEC(".maps");

/* x modulo the power of two n, in a register of its own: the compiler must not reason it away. */
static __always_inline __u32 bounded(__u32 x, __u32 n)
{
	asm volatile("" : "+r"(x));
	x &= n - 1;
	asm volatile("" : "+r"(x));
	return x;
}

/* A wake-up is an interrupt: one for every wake_bytes written; between them the reader polls. */
static __always_inline __u64 wake_flags(struct func *f, __u32 len)
{
	if (f && f->flags & FUNC_URGENT)
		return BPF_RB_FORCE_WAKEUP;
	return (bpf_ringbuf_query(&events, BPF_RB_PROD_POS) & (wake_bytes - 1)) < len ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline struct func *function_of(__u32 id)
{
	return bpf_map_lookup_elem(&functions, &id);
}

#include "calls.h"

/* Copies user memory, bringing it in when it is not resident. */
static __always_inline long read_user(void *dst, __u32 size, __u64 addr)
{
	if (!bpf_probe_read_user(dst, size, (void *)addr))
		return 0;
	return bpf_copy_from_user(dst, size, (void *)addr);
}

/* The C string at addr, at most size bytes: their number with the NUL, or negative. */
static __always_inline long read_string(void *dst, __u32 size, __u64 addr)
{
	long n = bpf_probe_read_user_str(dst, size, (void *)addr);
	char c;

	if (n >= 0)
		return n;
	/* Bring in its first page, and the next, where it may run on. */
	if (bpf_copy_from_user(&c, 1, (void *)addr))
		return -1;
	n = bpf_probe_read_user_str(dst, size, (void *)addr);
	if (n >= 0)
		return n;
	bpf_copy_from_user(&c, 1, (void *)((addr | 4095) + 1));
	return bpf_probe_read_user_str(dst, size, (void *)addr);
}

static __noinline struct scratch *take(void)
{
	__u32 first = bpf_get_smp_processor_id() * 4;

	for (int i = 0; i < 16; i++) {
		__u32 k = (first + i) % pool_size;
		struct scratch *s = bpf_map_lookup_elem(&pool, &k);

		if (s && !__sync_val_compare_and_swap(&s->busy, 0, 1)) {
			s->slot = k;
			return s;
		}
	}
	return NULL;
}

static __always_inline void give_back(struct scratch *s)
{
	__sync_lock_test_and_set(&s->busy, 0);
}

/*
 * Queues s->item, what a pointer points to, once for each (address, type). Not static, like
 * the next ones with loops: the verifier then checks it once, and not once for each way in.
 */
__noinline int enqueue(struct scratch *s)
{
	__u32 tail;

	if (!s || !s->item.addr || !s->item.type)
		return 0;
	tail = s->walk.tail;
	/* Against the first ones: that is where pointers lead back to, and each comparison costs. */
	for (__u32 i = 0; i < 32; i++) {
		if (i >= tail)
			break;
		if (s->queue[i].addr == s->item.addr && s->queue[i].type == s->item.type && s->queue[i].size >= s->item.size)
			return 0;
	}
	if (tail >= MAX_BLOCKS) {
		s->walk.truncated = 1;
		return 0;
	}
	s->walk.tail = tail + 1;
	tail = bounded(tail, MAX_BLOCKS);
	s->queue[tail] = s->item;
	return 0;
}

static __always_inline __u32 program_size(__u32 type)
{
	struct type_prog *p = bpf_map_lookup_elem(&programs, &type);

	return p ? p->size : 0;
}

/* What is known of the type that is told by an address in the function's file; NULL when nothing is. */
static __always_inline struct dynamic_type *type_at(struct scratch *s, __u64 address)
{
	s->key.file = s->walk.file;
	s->key.pad = 0;
	s->key.address = address - s->walk.bias;
	return bpf_map_lookup_elem(&dynamic, &s->key);
}

/*
 * The capture program of a type that is only known at run time; 0 when unknown or held in the
 * word itself. Of types that nothing describes the runtime tells the kind: that is enough for
 * numbers and text.
 */
__noinline int dynamic_program(struct scratch *s, __u32 kind, __u64 word)
{
	struct dynamic_type *d;

	if (!s)
		return 0;
	s->word[0] = word;
	if (kind != EDGE_EFACE && read_user(&s->word[0], 8, kind == EDGE_IFACE ? word + ITAB_TYPE : word))
		return 0;
	d = type_at(s, s->word[0]);
	if (!d && kind <= EDGE_EFACE) {
		s->key.file = 0;
		s->key.address = 0;
		if (read_user(&s->key.address, 1, s->word[0] + TYPE_KIND))
			return 0;
		s->key.address &= 31;
		d = bpf_map_lookup_elem(&dynamic, &s->key);
	}
	return d && !d->direct ? d->type : 0;
}

/* Makes the item of an EDGE_CLASS: the whole object that the pointer leads to a part of. */
static __always_inline void class_item(struct scratch *s)
{
	struct item *item = &s->item;
	struct dynamic_type *d;

	if (item->addr && !read_user(&s->word[0], 8, item->addr)) {
		d = type_at(s, s->word[0]);
		if (d) {
			item->addr += (__s64)d->adjust;
			item->type = d->type;
		}
	}
	item->want = item->size = program_size(item->type);
}

/* Makes the item of an EDGE_TRAIT: false when the type is not known. */
static __always_inline bool trait_item(struct scratch *s, struct edge *e)
{
	struct item *item = &s->item;
	struct dynamic_type *d;
	__u32 mask;

	if (e->len_off + 8 > s->span.len || !item->addr)
		return false;
	d = type_at(s, *(__u64 *)&s->data[bounded(s->span.base + e->len_off, MAX_DATA)]);
	if (!d)
		return false;
	mask = d->align ? d->align - 1 : 0;
	item->addr += (e->stride + mask) & ~mask;
	item->type = d->type;
	item->want = item->size = program_size(item->type);
	return true;
}

/* Whether the condition of an edge holds. */
static __always_inline bool applies(struct scratch *s, struct edge *e)
{
	__u32 value;

	if (e->when == WHEN_ALWAYS)
		return true;
	if (e->when_off + 4 > s->span.len)
		return false;
	value = *(__u32 *)&s->data[bounded(s->span.base + e->when_off, MAX_DATA)];
	return (value == e->when_value) == (e->when == WHEN_EQUAL);
}

/* How many values an EDGE_COUNTED leads to. */
static __always_inline __u64 count_of(struct scratch *s, struct edge *e)
{
	__u64 n, begin = s->item.addr;

	if (e->len_off + e->len_size > s->span.len)
		return 0;
	n = *(__u64 *)&s->data[bounded(s->span.base + e->len_off, MAX_DATA)];
	if (e->len_size == 4)
		n &= 0xffffffff;
	switch (e->count) {
	case COUNT_PLAIN:
		break;
	case COUNT_MASK:
		n = n < 0x7fffffff ? n + 1 : 0;
		break;
	case COUNT_SHIFT:
		n &= 0xff;
		n = n < 31 ? 1 << n : 0;
		break;
	case COUNT_HALF:
		n &= 0xff;
		n = n > 0 && n < 31 ? 1 << (n - 1) : 0;
		break;
	default:
		n = n > begin && e->stride ? (n - begin) / e->stride : 0;
	}
	return n < 0x7fffffff ? n : 0x7fffffff;
}

/* Makes the item of an EDGE_COUNTED: false when it leads nowhere. */
static __always_inline bool count_item(struct scratch *s, struct edge *e)
{
	struct item *item = &s->item;
	__u64 limit = e->type == TYPE_BYTES && e->stride == 1 && !(e->flags & EDGE_INNER) ? max_string : max_items;
	__u64 count = count_of(s, e);

	if (!count || !item->addr)
		return false;
	item->want = count * e->stride > 0x7fffffff ? 0x7fffffff : count * e->stride;
	if (e->per > 1)
		limit = limit / e->per + 1;
	if (count > limit)
		count = limit;
	/* What doesn't fit in a block would be cut at the wrong end. */
	if (e->flags & EDGE_BACK && e->stride && count * e->stride > MAX_BLOCK)
		count = MAX_BLOCK / e->stride;
	item->size = count * e->stride;
	if (e->flags & EDGE_BACK)
		item->addr -= item->size;
	return true;
}

/* Makes the item of the Go slice at an offset in the span, whose type was looked up: 0 when it leads nowhere. */
__noinline int slice_item(struct scratch *s, __u32 off, __u32 type)
{
	struct type_prog *p = bpf_map_lookup_elem(&programs, &type);
	struct edge *e;
	__u32 i;
	bool leads;

	if (!s || !p || p->nedges != 1)
		return 0;
	i = p->edges;
	e = bpf_map_lookup_elem(&edges, &i);
	if (!e || e->kind != EDGE_COUNTED || off + 16 > s->span.len)
		return 0;
	s->item.type = e->type;
	s->span.base += off;
	leads = count_item(s, e);
	s->span.base -= off;
	return leads;
}

/* Queues what one pointer in the span points to. */
__noinline int follow_edge(struct scratch *s, __u32 i)
{
	struct edge *e = bpf_map_lookup_elem(&edges, &i);
	struct item *item;
	__u32 known;
	__u64 word;

	if (!e || !s || e->off + 8 > s->span.len || !applies(s, e))
		return 0;
	if (!(e->flags & EDGE_INNER) && s->span.depth >= max_depth && e->type != TYPE_BYTES)
		return 0;
	if (e->depth && s->span.depth > e->depth)
		return 0;
	item = &s->item;
	item->addr = *(__u64 *)&s->data[bounded(s->span.base + e->off, MAX_DATA)];
	if (e->flags & EDGE_UNTAG)
		item->addr &= ~3ULL;
	item->type = e->type;
	item->want = item->size = 0;
	item->depth = e->flags & EDGE_INNER ? s->span.depth : s->span.depth + 1;
	item->text = 0;
	switch (e->kind) {
	case EDGE_POINTER:
		item->want = item->size = program_size(e->type);
		break;
	case EDGE_COUNTED:
		if (!count_item(s, e))
			return 0;
		break;
	case EDGE_WIDE:
		item->size = max_string & ~3u;
		if (item->size > 4096 - (item->addr & 4095))
			item->size = 4096 - (item->addr & 4095);
		item->want = item->size;
		break;
	case EDGE_CSTRING:
		item->text = 1;
		item->size = max_string < MAX_BLOCK ? max_string + 1 : MAX_BLOCK; /* with the NUL */
		break;
	case EDGE_CLASS:
		class_item(s);
		break;
	case EDGE_TRAIT:
		if (!trait_item(s, e))
			return 0;
		break;
	case EDGE_CLOSURE:
	case EDGE_DICT:
		word = item->addr;
		if (e->kind == EDGE_DICT) {
			if (e->len_off + 8 > s->span.len)
				return 0;
			word = *(__u64 *)&s->data[bounded(s->span.base + e->len_off, MAX_DATA)] + e->stride;
		}
		known = item->addr ? dynamic_program(s, e->kind, word) : 0;
		if (e->flags & EDGE_SLICE) {
			if (!slice_item(s, e->off, known))
				return 0;
			break;
		}
		if (known)
			item->type = known;
		item->want = item->size = program_size(item->type);
		break;
	default:
		word = item->addr;
		if (e->off + 16 > s->span.len || !word)
			return 0;
		item->addr = *(__u64 *)&s->data[bounded(s->span.base + e->off + 8, MAX_DATA)];
		item->type = dynamic_program(s, e->kind, word);
		item->want = item->size = program_size(item->type);
	}
	return enqueue(s);
}

/* Queues what the span of captured bytes points to. */
__noinline int follow(struct scratch *s)
{
	struct type_prog *p;
	__u32 type;

	if (!s)
		return 0;
	type = s->span.type;
	p = bpf_map_lookup_elem(&programs, &type);
	if (!p)
		return 0;
	for (__u32 i = 0; i < MAX_EDGES; i++) {
		if (i >= p->nedges)
			break;
		follow_edge(s, p->edges + i);
	}
	return 0;
}

/* Queues what the values in so many bytes of data point to; their type and depth are the span's. */
__noinline int follow_each(struct scratch *s, __u32 base, __u32 len)
{
	__u32 size;

	if (!s)
		return 0;
	size = program_size(s->span.type);
	for (__u32 i = 0; i < MAX_EACH; i++) {
		if (!len)
			break;
		s->span.base = base;
		s->span.len = size && size < len ? size : len;
		follow(s);
		if (s->walk.tail >= MAX_BLOCKS)
			break;
		base += s->span.len;
		len -= s->span.len;
	}
	return 0;
}

/* Copies one queued text behind the others, at most len bytes: its status. */
__noinline int copy_text(struct scratch *s, __u32 at, __u32 len, struct item *item)
{
	struct block *b;
	long n;

	if (!s || !item || at >= MAX_DATA || len > MAX_BLOCK)
		return BLOCK_FAULT;
	b = (struct block *)&s->data[at];
	b->len = b->want = 0;
	n = read_string(&s->data[at + sizeof(struct block)], len, item->addr);
	if (n < 0)
		return BLOCK_FAULT;
	if (n == 0 || n > MAX_BLOCK)
		return BLOCK_OK;
	b->len = b->want = n - 1;
	/* A string that fills its room was cut (its end is a NUL that the helper wrote). */
	if (n != item->size && n != max_bytes - at - sizeof(struct block))
		return BLOCK_OK;
	b->want = n;
	return BLOCK_CUT;
}

/* Copies one queued value behind the others, at most len bytes: its status. */
__noinline int copy_value(struct scratch *s, __u32 at, __u32 len, struct item *item)
{
	struct block *b;

	if (!s || !item || at >= MAX_DATA || len > MAX_BLOCK)
		return BLOCK_FAULT;
	b = (struct block *)&s->data[at];
	b->want = item->want;
	b->len = 0;
	if (len && read_user(&s->data[at + sizeof(struct block)], len, item->addr))
		return BLOCK_FAULT;
	b->len = len;
	return len < item->want ? BLOCK_CUT : BLOCK_OK;
}

/* Copies the next of what is queued, and queues what it points to. */
static long copy_next(__u64 i, void *arg)
{
	struct scratch *s = bpf_map_lookup_elem(&pool, arg);
	struct item *item;
	struct block *b;
	__u32 at, len;

	if (!s || s->walk.head >= s->walk.tail)
		return 1;
	item = &s->queue[bounded(s->walk.head, MAX_BLOCKS)];
	s->walk.head++;

	at = s->walk.used;
	if (at + sizeof(struct block) + 8 > max_bytes || at >= MAX_DATA) {
		s->walk.truncated = 1;
		return 1;
	}
	len = item->size;
	if (len > MAX_BLOCK)
		len = MAX_BLOCK;
	if (at + sizeof(struct block) + len > max_bytes)
		len = max_bytes - at - sizeof(struct block);
	if (len > MAX_BLOCK)
		len = MAX_BLOCK;

	at &= MAX_DATA - 1;
	b = (struct block *)&s->data[at];
	b->addr = item->addr;
	b->type = item->type;
	b->status = item->text ? copy_text(s, at, len, item) : copy_value(s, at, len, item);
	len = b->len;
	s->walk.used = at + sizeof(struct block) + ((len + 7) & ~7u);
	if (b->status != BLOCK_FAULT && item->type != TYPE_BYTES) {
		s->span.type = item->type;
		s->span.depth = item->depth;
		follow_each(s, at + sizeof(struct block), len);
	}
	return 0;
}

/* Makes move i of the plan into the root block: 0, or 1 when it could not be read. */
__noinline int make_move(bpf_user_pt_regs_t *ctx, struct scratch *s, __u32 i)
{
	struct move *m = bpf_map_lookup_elem(&moves, &i);
	__u32 dst, size;
	__u64 v;

	if (!m || !s)
		return 1;
	dst = bounded(m->dst, MAX_DATA);
	if (m->source != SOURCE_CFA)
		v = reg_by_number(ctx, m->reg);
	if (m->source == SOURCE_REGISTER) {
		v >>= (m->off & 7) * 8;
		switch (m->size) {
		case 1: *(__u8 *)&s->data[dst] = v; break;
		case 2: *(__u16 *)&s->data[dst] = v; break;
		case 4: *(__u32 *)&s->data[dst] = v; break;
		default: *(__u64 *)&s->data[dst] = v; /* 3, 5, 6, 7: what is too much, a later move overwrites */
		}
		return 0;
	}
	if (m->source == SOURCE_CFA)
		v = s->event.cfa;
	if (m->source == SOURCE_SAVED) {
		if (!s->saved)
			return 1;
		v = s->saved;
	}
	size = m->size;
	if (size > MAX_BLOCK)
		size = MAX_BLOCK;
	return read_user(&s->data[dst], size, v + m->off) != 0;
}

/* Fills the root block: the bits of the moves that could not be made. */
__noinline int fill_root(bpf_user_pt_regs_t *ctx, struct scratch *s, struct side *side)
{
	__u32 missed = 0;

	if (!s || !side)
		return 0;
	for (__u32 i = 0; i < MAX_MOVES; i++) {
		if (i >= side->nmoves)
			break;
		missed |= (__u32)make_move(ctx, s, side->moves + i) << i;
	}
	return missed;
}

/*
 * The CPU time of the current thread, less the scheduler's clock. Its time is in
 * sum_exec_runtime up to exec_start, and has gone on since: to this moment by the processor's
 * clock_task, which stands still where clock goes on while interrupts and the hypervisor
 * have the processor. So this changes only while the thread is not running.
 */
static __always_inline __u64 cpu_less_clock(struct task_struct *task, struct rq *rq)
{
	return task->se.sum_exec_runtime - task->se.exec_start + rq->clock_task - rq->clock;
}

/*
 * Takes the time, and the CPU time that belongs to it: false when the thread has lost the
 * processor in between, or its account was brought up to date while it was being read.
 */
static __always_inline bool try_time(struct hit *h, struct task_struct *task)
{
	struct rq *rq = task->se.cfs_rq->rq;

	h->cpu = cpu_less_clock(task, rq);
	h->ts = bpf_ktime_get_ns();
	return h->cpu == cpu_less_clock(task, rq);
}

static __noinline void take_time(struct hit *h, struct task_struct *task)
{
	if (stats_only) {
		h->ts = bpf_ktime_get_ns(); /* who asks for no events needs no CPU time */
	} else if (bpf_core_field_exists(task->se.cfs_rq) && bpf_core_field_exists(struct rq, clock_task)) {
		if (!try_time(h, task))
			try_time(h, task);
	} else {
		h->ts = bpf_ktime_get_ns();
		h->cpu = 0;
		h->flags |= EVENT_NO_CPU;
	}
}

static __always_inline __u64 cfa_of(struct pt_regs *ctx, __u8 flags)
{
	return flags & EVENT_URETPROBE ? REGS_CFA_RETURNED(ctx) : REGS_CFA(ctx);
}

/* Finds the goroutine, and the frame's position on its stack. */
__noinline int find_goroutine(bpf_user_pt_regs_t *ctx, struct func *f, struct hit *h)
{
	struct task_struct *task;
	__u64 g, high;

	if (!f || !h)
		return 0;
	g = LOAD_G(ctx);
	if (f->flags & FUNC_ABI0) {
		task = (void *)bpf_get_current_task();
		if (read_user(&g, sizeof(g), THREAD_POINTER(task) + (__s64)f->tls_offset))
			g = 0;
	}
	/* runtime.g starts with stack{lo, hi}. */
	if (!g || read_user(&high, sizeof(high), g + 8) || read_user(&h->goid, sizeof(h->goid), g + f->goid_offset)) {
		h->goid = 0;
		h->flags |= EVENT_NO_G;
		return 0;
	}
	h->high = high;
	h->pos = high - cfa_of(ctx, h->flags);
	if (h->goid) {
		h->g = g;
		h->at = h->pos;
	}
	return 0;
}

/* Finds goroutine and frame position. */
static __always_inline void find_place(struct pt_regs *ctx, struct func *f, struct hit *h)
{
	h->pos = h->at = ~cfa_of(ctx, h->flags);
	h->goid = h->g = h->high = 0;
	if (f->flags & FUNC_GO)
		find_goroutine(ctx, f, h);
}

/* Copies what the pointers in the root block of s lead to. */
static __always_inline void chase(struct scratch *s, struct side *side)
{
	__u32 slot;

	if (!side->type)
		return;
	s->walk.head = s->walk.tail = s->walk.truncated = 0;
	s->span.base = s->span.depth = 0;
	s->span.len = s->event.root;
	s->span.type = side->type;
	follow(s);
	if (!s->walk.tail)
		return;
	slot = s->slot;
	bpf_loop(MAX_BLOCKS, copy_next, &slot, 0);
	if (s->walk.truncated || s->walk.head < s->walk.tail)
		s->event.flags |= EVENT_TRUNCATED;
}

/* Copies the values behind the event that s holds the head of. */
static __always_inline void capture(struct pt_regs *ctx, struct scratch *s, struct side *side)
{
	__u32 len;

	len = side->root;
	if (len > MAX_BLOCK)
		len = MAX_BLOCK;
	s->event.root = len;
	s->event.missed = fill_root(ctx, s, side);
	s->walk.used = len;
	chase(s, side);
}

/* Whether a word of the root block tells that the call failed. */
static __always_inline bool fails(struct side *side, __u64 word)
{
	if (side->fail_test == FAIL_INT && word >> 31 == 1)
		word |= 0xffffffff00000000;
	word -= side->fail_low;
	if (side->fail_size < 8)
		word &= (1ULL << (side->fail_size & 7) * 8) - 1;
	return word <= side->fail_span;
}

/*
 * Where the caller of the function at whose entry or return a probe sits goes on: the
 * return address, 0 when it can't be read.
 */
static __always_inline __u64 return_address(struct pt_regs *ctx, struct scratch *s)
{
	if (s->event.flags & EVENT_URETPROBE)
		return REGS_IP(ctx);
#if defined(__TARGET_ARCH_arm64)
	return LOAD_REG(ctx, regs[30]);
#else
	if (read_user(&s->word[0], 8, s->event.cfa - 8))
		return 0;
	return s->word[0];
#endif
}

/* A block of so many bytes behind the data of s: its header is made, and counted. */
static __always_inline __u8 *add_block(struct scratch *s, __u64 addr, __u32 type, __u32 len)
{
	__u32 at = bounded(s->walk.used, 2 * MAX_DATA);
	struct block *b = (struct block *)&s->data[at];

	b->addr = addr;
	b->type = type;
	b->len = b->want = len;
	b->status = BLOCK_OK;
	s->walk.used = at + sizeof(struct block) + len;
	return (__u8 *)(b + 1);
}

/* The place of errno in the current process; NULL when it isn't known. */
static __always_inline struct errno_place *errno_place(__u32 tgid)
{
	struct errno_place *place = bpf_map_lookup_elem(&errnos, &tgid);
	struct process *p = bpf_map_lookup_elem(&processes, &tgid);

	return place && p && place->program == p->program ? place : NULL;
}

/* Adds the current thread's errno. */
__noinline int add_errno(struct scratch *s)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct errno_place *place;
	struct block *b;
	__u64 thread;

	if (!s)
		return 0;
	b = (struct block *)&s->data[bounded(s->walk.used, 2 * MAX_DATA)];
	place = errno_place(s->event.tgid);
	thread = THREAD_POINTER(task);
	s->word[0] = 0;
	if (place && place->libc != LIBC_SEVERAL && thread && !read_user(&s->word[0], sizeof(int), thread + place->offset)) {
		*(__u64 *)add_block(s, thread + place->offset, TYPE_ERRNO, 8) = s->word[0];
		return 0;
	}
	add_block(s, 0, TYPE_ERRNO, 0);
	b->status = BLOCK_FAULT;
	b->want = !place ? ERRNO_PLACE : place->libc == LIBC_SEVERAL ? ERRNO_SEVERAL : ERRNO_MEMORY;
	return 0;
}

/* Finds errno's place in a process of which a C library begins, all of it relocated. */
__noinline int find_errno(struct func *f, struct hit *h)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *p = bpf_map_lookup_elem(&processes, &tgid);
	struct errno_place place = {}, *known = errno_place(tgid);

	if (!p || !f || !h)
		return 0;
	place.program = p->program;
	place.libc = h->bias;
	place.offset = f->tls_offset;
	if (f->errno_slot && read_user(&place.offset, sizeof(place.offset), place.libc + f->errno_slot))
		return 0;
	if (known && known->libc != place.libc)
		place.libc = LIBC_SEVERAL;
	bpf_map_update_elem(&errnos, &tgid, &place, BPF_ANY);
	return 0;
}

/* Collects return addresses by frame pointers, which Go always keeps. */
__noinline int walk_frames(bpf_user_pt_regs_t *ctx, struct scratch *s)
{
	__u64 *frames, fp;
	__u32 at, n;

	if (!s)
		return 0;
	at = s->walk.used;
	frames = (__u64 *)add_block(s, 0, TYPE_FRAMES, 0);
	frames[0] = return_address(ctx, s);
	fp = REGS_FP(ctx);
	for (n = 1; n < MAX_FRAMES; n++) {
		/* The caller's frame pointer, and the return address above it. */
		if (read_user(&s->word[0], 16, fp) || !s->word[1])
			break;
		frames[n] = s->word[1];
		if (s->word[0] <= fp) {
			n++;
			break;
		}
		fp = s->word[0];
	}
	s->walk.used = at;
	add_block(s, 0, TYPE_FRAMES, bounded(n, 2 * MAX_FRAMES) * 8);
	return 0;
}

/*
 * Puts return addresses back into the copy of the stack that lies at `at`: uretprobes
 * have replaced them by that of their trampoline. On arm64 nobody knows where a function
 * has saved its own.
 */
static __noinline int put_back(struct scratch *s, __u64 sp, __u32 at)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct return_instance *r = BPF_CORE_READ(task, utask, return_instances);

	if (!s)
		return 0;
	for (int i = 0; r && i < MAX_NESTED; i++) {
		s->word[0] = BPF_CORE_READ(r, stack) - sp;
		if (s->word[0] < MAX_STACK)
			*(__u64 *)&s->data[bounded(at, 2 * MAX_DATA) + bounded(s->word[0], MAX_STACK)] = BPF_CORE_READ(r, orig_ret_vaddr);
		r = BPF_CORE_READ(r, next);
	}
	return 0;
}

/* Copies the stack from an address on, page by page as far as it is mapped (resident: without sleeping). */
static __always_inline void copy_pages(struct scratch *s, __u64 sp, const bool resident)
{
	__u32 at = s->walk.used, len = 0, part;
	__u8 *to;

	add_block(s, sp, TYPE_STACK, 0);
	for (__u32 i = 0; i <= MAX_STACK / 4096; i++) {
		part = 4096 - ((sp + len) & 4095);
		if (part > MAX_STACK - len)
			part = MAX_STACK - len;
		if (!part || part > 4096)
			break;
		to = &s->data[bounded(at, 2 * MAX_DATA) + sizeof(struct block) + bounded(len, MAX_STACK)];
		if (resident ? bpf_probe_read_user(to, part, (void *)(sp + len)) : read_user(to, part, sp + len))
			break;
		len += part;
	}
	s->walk.used = at;
	put_back(s, sp, at + sizeof(struct block));
	add_block(s, sp, TYPE_STACK, len & ~7u);
}

__noinline int copy_stack(struct scratch *s, __u64 sp)
{
	if (s)
		copy_pages(s, sp, false);
	return 0;
}

/* Copies the caller's registers and its stack. */
__noinline int copy_caller(bpf_user_pt_regs_t *ctx, struct scratch *s)
{
	__u64 *regs;

	if (!s)
		return 0;
	regs = (__u64 *)add_block(s, 0, TYPE_REGISTERS, REGISTERS * 8);
#pragma unroll
	for (__u32 i = 0; i < REGISTERS - 1; i++)
		regs[i] = reg_by_number(ctx, i);
	regs[SP_NUMBER] = s->event.cfa;
	regs[REGISTERS - 1] = return_address(ctx, s);
	return copy_stack(s, s->event.cfa);
}

/* Whether the unwinder is entered from what has told of its stack. */
static __always_inline bool told(struct func *f, struct thread *t, __u64 cfa)
{
	__u64 thrown = t->thrown;

	t->thrown = f->role == ROLE_UNWIND ? 0 : cfa;
	return f->role == ROLE_UNWIND && thrown && thrown - cfa < 4096;
}

/* Whether the event of a hit is to come with the stack, or with why it doesn't. */
static __always_inline bool tells_stack(struct func *f, struct thread *t, __u64 cfa)
{
	if (t->hit.kind == EVENT_EXIT)
		return t->hit.failed;
	if (!(f->flags & FUNC_RAISES) || told(f, t, cfa))
		t->hit.stack = STACK_NEEDLESS;
	return t->hit.stack != STACK_NEEDLESS;
}

/*
 * Adds what is to be told of the stack. Stacks must not crowd out errors: they have at most
 * half of the ring buffer.
 */
__noinline int add_stack(bpf_user_pt_regs_t *ctx, struct func *f, struct scratch *s, __u32 wish)
{
	__u32 at, lack = 0;

	if (!f || !s)
		return 0;
	if (wish == STACK_LEFT_OUT)
		lack = STACK_BUDGET;
	else if (bpf_ringbuf_query(&errors, BPF_RB_AVAIL_DATA) + MAX_RECORD > bpf_ringbuf_query(&errors, BPF_RB_RING_SIZE) / 2)
		lack = STACK_ROOM;
	if (lack) {
		at = bounded(s->walk.used, 2 * MAX_DATA);
		add_block(s, 0, TYPE_STACK, 0);
		((struct block *)&s->data[at])->status = BLOCK_FAULT;
		((struct block *)&s->data[at])->want = lack;
		return 0;
	}
	return f->flags & FUNC_GO ? walk_frames(ctx, s) : copy_caller(ctx, s);
}

/* Sets the size of the event that s holds. */
static __always_inline __u32 set_size(struct scratch *s)
{
	__u32 len = s->walk.used;

	if (len > MAX_RECORD - sizeof(struct event))
		len = MAX_RECORD - sizeof(struct event);
	len += sizeof(struct event);
	s->event.size = len;
	return len;
}

/* Puts the event that s holds into the ring buffer of calls: enum outcome. */
__noinline int output(struct func *f, struct scratch *s)
{
	__u32 len;

	if (!f || !s)
		return LOST;
	len = set_size(s);
	return bpf_ringbuf_output(&events, &s->event, len, wake_flags(f, len)) ? LOST : DELIVERED;
}

/* How the reader of errors is woken: once for so much written; else it polls. */
static __always_inline __u64 error_flags(__u32 len)
{
	__u64 part = bpf_ringbuf_query(&errors, BPF_RB_RING_SIZE) / 8;

	return (bpf_ringbuf_query(&errors, BPF_RB_PROD_POS) & (part - 1)) < len ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Puts it into that of errors: enum outcome. */
__noinline int report(struct scratch *s, bool urgent)
{
	__u32 len;

	if (!s)
		return LOST;
	len = set_size(s) + sizeof(s->after);
	s->after = bpf_ringbuf_query(&events, BPF_RB_PROD_POS);
	return bpf_ringbuf_output(&errors, &s->after, len, urgent ? BPF_RB_FORCE_WAKEUP : error_flags(len)) ? LOST : DELIVERED;
}

/* Counts an entry or exit of a function that was not delivered. */
static __noinline void lose(__u32 id, __u8 kind, int why)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &id);

	if (c && why == LOST)
		__sync_fetch_and_add(kind == EVENT_ENTRY ? &c->lost_entries : &c->lost_exits, 1);
	else if (c)
		__sync_fetch_and_add(kind == EVENT_ENTRY ? &c->crowded_entries : &c->crowded_exits, 1);
}

/* Counts the time that it took to copy an event's values. */
static __always_inline void copied(__u32 id, __u64 ns)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &id);

	if (c)
		__sync_fetch_and_add(&c->copying, ns);
}

/*
 * What a probe returns that was hit by a process that is not traced: 1 takes it out of that
 * process. Not when the process shares its memory with another, as after vfork: the other
 * one may be traced, and would lose the probe with it.
 */
static __always_inline int leave_alone(void)
{
	struct task_struct *task;

	if (!leave_others)
		return 0;
	task = (void *)bpf_get_current_task();
	return BPF_CORE_READ(task, mm, mm_users.counter) <= BPF_CORE_READ(task, signal, nr_threads);
}

/* Whether a process is traced. */
static __always_inline bool wanted(__u32 tgid)
{
	return bpf_map_lookup_elem(&processes, &tgid) != NULL;
}

/* Counts a hit of a process that is not traced. */
static __always_inline void count_other(struct pt_regs *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u32 id = cookie & COOKIE_FUNC;
	struct counters *c = cookie & COOKIE_EXIT ? NULL : bpf_map_lookup_elem(&counts, &id);

	if (c)
		__sync_fetch_and_add(&c->others, 1);
}

/* What a probe returns whose thread has no place in `threads`. */
static __always_inline int unknown_thread(struct pt_regs *ctx, __u32 tgid)
{
	if (!wanted(tgid)) {
		count_other(ctx);
		return leave_alone();
	}
	__sync_fetch_and_add(&untracked, 1);
	return 0;
}

/* Fills in what the thread and its process have used, but for CPU time. */
static __always_inline void fill_usage(struct event *e, struct task_struct *task)
{
	struct mm_struct *mm = task->mm;

	e->minor = task->min_flt;
	e->major = task->maj_flt;
	e->switches = task->nvcsw + task->nivcsw;
	e->rss = 0;
	if (bpf_core_field_exists(mm->rss_stat[0].count))
		e->rss = mm->rss_stat[MM_FILEPAGES].count + mm->rss_stat[MM_ANONPAGES].count + mm->rss_stat[MM_SHMEMPAGES].count;
	else
		e->flags |= EVENT_NO_RSS;
}

/* Fills an event's header, but for its sizes. */
static __always_inline void fill_head(struct event *e, struct pt_regs *ctx, struct hit *h)
{
	struct task_struct *task = bpf_get_current_task_btf();

	e->kind = h->kind;
	e->flags = h->flags;
	e->func = (__u32)h->cookie & COOKIE_FUNC;
	e->missed = 0;
	e->tgid = task->tgid;
	e->tid = task->pid;
	e->ts = h->ts;
	e->goid = h->goid;
	e->pos = h->pos;
	e->ip = REGS_IP(ctx);
	e->cfa = cfa_of(ctx, h->flags);
	e->arg = h->cpu;
	e->more = h->more | (__u64)h->inside << MORE_INSIDE;
	fill_usage(e, task);
}

static __always_inline struct side *side_of(struct func *f, struct hit *h)
{
	return h->kind == EVENT_ENTRY ? &f->entry : &f->exit;
}

/* A word that is made of a register: enum word. */
static __always_inline __u64 make_word(struct pt_regs *ctx, __u8 how)
{
	return how == WORD_NONE ? 0 : reg_by_number(ctx, how & WORD_REGISTER) >> how / WORD_SHIFT * 8;
}

/*
 * Delivers the event of a flat side that has at most so many words (a power of two): it is
 * made in the ring buffer itself, where nothing may fault or sleep.
 */
static __always_inline int deliver_words(struct pt_regs *ctx, struct func *f, struct side *side, struct hit *h,
					 const __u32 words)
{
	const __u32 size = sizeof(struct event) + words * sizeof(__u64);
	struct event *e = bpf_ringbuf_reserve(&events, size, 0);
	__u64 *values = (__u64 *)(e + 1);

	if (!e)
		return LOST;
	fill_head(e, ctx, h);
	e->size = size;
	e->root = words * sizeof(__u64);
	for (__u32 i = 0; i < words; i++)
		values[i] = make_word(ctx, side->words >> i * 8);
	bpf_ringbuf_submit(e, wake_flags(f, size));
	return DELIVERED;
}

/* Delivers the event of a flat side: enum outcome. */
__noinline int deliver_flat(bpf_user_pt_regs_t *ctx, struct func *f, struct hit *h)
{
	struct side *side;

	if (!f || !h)
		return LOST;
	side = side_of(f, h);
	if (side->root <= 8)
		return deliver_words(ctx, f, side, h, 1);
	if (side->root <= 16)
		return deliver_words(ctx, f, side, h, 2);
	if (side->root <= 32)
		return deliver_words(ctx, f, side, h, 4);
	return deliver_words(ctx, f, side, h, FLAT_WORDS);
}

/* Puts the event of a hit together in s. */
static __always_inline void compose(struct pt_regs *ctx, struct func *f, struct thread *t, struct scratch *s)
{
	struct hit *h = &t->hit;

	fill_head(&s->event, ctx, h);
	if (f->flags & FUNC_RAISES)
		s->event.arg = RETURN_ADDRESS(ctx);
	s->walk.file = f->file;
	s->walk.bias = h->bias;
	s->saved = h->saved;
	capture(ctx, s, side_of(f, h));
	if (tells_stack(f, t, s->event.cfa)) {
		if (f->flags & FUNC_ERRNO)
			add_errno(s);
		add_stack(ctx, f, s, t->hit.stack);
	}
}

/* Keeps the event that s has for the next frame of o back; false when it is too long for that. */
static __always_inline bool hold(struct scratch *s, struct owner *o)
{
	if (set_size(s) + sizeof(s->after) > MAX_HELD || bpf_map_update_elem(&held, key_of(o, o->n), &s->after, BPF_ANY))
		return false;
	o->held++;
	return true;
}

/*
 * Delivers the event of any side, which is put together in a scratch; or keeps it back, with
 * an owner, until it is known whether the call is recorded: enum outcome.
 */
__noinline int deliver_any(bpf_user_pt_regs_t *ctx, struct func *f, struct thread *t, struct owner *keeper)
{
	struct scratch *s;
	int outcome;

	if (!f || !t)
		return LOST;
	s = take();
	if (!s)
		return CROWDED;
	compose(ctx, f, t, s);
	if (keeper && hold(s, keeper)) {
		outcome = HELD;
	} else if (t->hit.failed || f->role != ROLE_CALL) {
		outcome = report(s, f->flags & FUNC_URGENT);
	} else {
		if (keeper)
			bring_all(keeper, keeper->n);
		outcome = output(f, s);
	}
	give_back(s);
	t->hit.spent = bpf_ktime_get_ns() - t->hit.ts;
	if (f->role == ROLE_CALL)
		copied(t->hit.counted, t->hit.spent);
	return outcome;
}

/* Makes the event of a hit and delivers it, or keeps it back: enum outcome. Of calls' entries that are lost their frames tell. */
static __always_inline int deliver(struct pt_regs *ctx, struct func *f, struct thread *t, struct owner *keeper)
{
	struct hit *h = &t->hit;
	bool flat = f->flags & (h->kind == EVENT_ENTRY ? FUNC_FLAT_ENTRY : FUNC_FLAT_EXIT) && !h->failed && !keeper && f->role == ROLE_CALL;
	int outcome = flat ? deliver_flat(ctx, f, h) : deliver_any(ctx, f, t, keeper);

	if ((outcome == LOST || outcome == CROWDED) && (h->kind == EVENT_EXIT || f->role != ROLE_CALL))
		lose(h->counted, h->kind, outcome);
	return outcome;
}

/* Fills the header of the entry of a call that is told late, but for its sizes. */
static __always_inline void fill_late(struct event *e, struct func *f, struct owner *o, struct frame *frame)
{
	struct task_struct *task = bpf_get_current_task_btf();

	e->kind = EVENT_ENTRY;
	e->flags = EVENT_LATE | EVENT_NO_CPU | EVENT_NO_RSS;
	e->func = frame->func;
	e->missed = 0;
	e->tgid = task->tgid;
	e->tid = task->pid;
	e->ts = frame->ts;
	e->goid = o->goid;
	e->cfa = o->goid ? o->top - frame->pos : ~frame->pos;
	e->pos = o->goid || !o->top ? frame->pos : o->top - e->cfa;
	if (f->flags & FUNC_GO && !o->top)
		e->flags |= EVENT_NO_G;
	e->ip = frame->bias + f->address + f->site;
	e->arg = 0;
	e->minor = e->major = e->switches = e->rss = 0;
	e->more = RATE_ALL | MORE_READ_LATE;
	if (frame->flags & FRAME_DEAD) {
		e->flags |= EVENT_DEAD;
		e->arg = frame->saved;
	}
}

/* Delivers the entry of a call that has failed, as it was held back: enum outcome. */
static __always_inline int deliver_held(struct owner *o, struct frame *frame, __u32 i)
{
	struct held *h = bpf_map_lookup_elem(&held, key_of(o, i));
	int outcome = LOST;
	__u32 size;

	if (h) {
		h->head.event.flags |= EVENT_LATE;
		if (frame->flags & FRAME_DEAD) {
			h->head.event.flags |= EVENT_DEAD;
			h->head.event.arg = frame->saved;
		}
		h->head.after = bpf_ringbuf_query(&events, BPF_RB_PROD_POS);
		size = h->head.event.size + sizeof(h->head.after);
		if (size > sizeof(*h))
			size = sizeof(*h);
		if (!bpf_ringbuf_output(&errors, h, size, error_flags(size)))
			outcome = DELIVERED;
	}
	let_go(o, frame, i);
	return outcome;
}

/* Delivers the entry of a call that has failed, and was not told of: enum outcome. */
__noinline int deliver_late(struct owner *o, __u32 i)
{
	struct frame *frame;
	struct scratch *s;
	struct func *f;
	__u64 *root;
	int outcome;

	if (!o)
		return LOST;
	frame = frame_at(o, i);
	if (!frame)
		return LOST;
	if (frame->flags & FRAME_HELD)
		return deliver_held(o, frame, i);
	f = function_of(frame->func);
	if (!f)
		return LOST;
	s = take();
	if (!s)
		return CROWDED;
	s->word[1] = bpf_ktime_get_ns();
	fill_late(&s->event, f, o, frame);
	s->event.root = s->walk.used = 0;
	if (frame->flags & FRAME_WORDS) {
		root = (__u64 *)s->data;
#pragma unroll
		for (__u32 k = 0; k < KEPT_WORDS; k++)
			root[k] = frame->words[k];
		s->event.missed = frame->missed;
		s->event.root = s->walk.used = bounded(f->entry.root, 16 * KEPT_WORDS);
		s->walk.file = f->file;
		s->walk.bias = frame->bias;
		chase(s, &f->entry);
	} else {
		s->event.missed = 0xffffffff;
	}
	outcome = report(s, false);
	copied(frame->counted, bpf_ktime_get_ns() - s->word[1]);
	give_back(s);
	return outcome;
}

/* Delivers the late entry of frame i of an owner; when it is lost, it is counted as that. */
static __always_inline bool tell_late(struct owner *o, struct frame *frame, __u32 i)
{
	__u32 counted = frame->counted;
	int outcome = deliver_late(o, i);

	if (outcome != DELIVERED)
		lose(counted, EVENT_ENTRY, outcome);
	return outcome == DELIVERED;
}

static long tell_dead(__u64 i, struct owner **arg)
{
	struct owner *o = *arg;
	struct frame *f = frame_at(o, i);

	if (!f || !(f->flags & FRAME_DEAD))
		return 0;
	tell_late(o, f, i);
	f = frame_at(o, i);
	if (f)
		f->flags &= FRAME_COUNTED | FRAME_GONE;
	o->dead--;
	return !o->dead;
}

/* Delivers the entries of the calls of which it was found that they have failed. */
static __always_inline void tell_all(struct owner *o)
{
	bpf_loop(o->n, tell_dead, &o, 0);
	o->dead = 0;
}

/* The word of so many bytes at an offset in what a move makes; 0 when it can't be read. */
__noinline __u64 word_of(bpf_user_pt_regs_t *ctx, struct hit *h, __u32 move, __u32 off, __u32 size)
{
	struct move *m = bpf_map_lookup_elem(&moves, &move);
	__u64 v = 0;

	if (!m || !h)
		return 0;
	if (m->source != SOURCE_CFA)
		v = reg_by_number(ctx, m->reg);
	if (m->source == SOURCE_REGISTER)
		return v >> ((m->off + off) & 7) * 8;
	if (m->source == SOURCE_CFA)
		v = cfa_of(ctx, h->flags);
	if (m->source == SOURCE_SAVED)
		v = h->saved;
	v += m->off + off;
	h->word = 0;
	size = bounded(size, 16);
	if (size > 8 || read_user(&h->word, size, v))
		return 0;
	return h->word;
}

/* Whether a check of the arguments holds. */
__noinline int holds(bpf_user_pt_regs_t *ctx, struct hit *h, __u32 i)
{
	struct check *c = bpf_map_lookup_elem(&checks, &i);
	__u64 v, w;
	__u32 unused;

	if (!c || !h)
		return 1;
	unused = (8 - (c->size & 15)) * 8;
	if (unused > 56)
		return 1;
	/* Values to the upper end of their words, where they compare as they would in their own size. */
	v = word_of(ctx, h, c->move, c->off, c->size) << unused;
	w = c->value << unused;
	switch (c->op) {
	case CHECK_EQUAL: return v == w;
	case CHECK_DIFFERS: return v != w;
	case CHECK_LESS: return c->is_signed ? (__s64)v < (__s64)w : v < w;
	case CHECK_MORE: return c->is_signed ? (__s64)v > (__s64)w : v > w;
	case CHECK_AT_MOST: return c->is_signed ? (__s64)v <= (__s64)w : v <= w;
	case CHECK_AT_LEAST: return c->is_signed ? (__s64)v >= (__s64)w : v >= w;
	}
	return 1;
}

/* Whether all of a function's checks hold for a call that begins. */
__noinline int wanted_call(bpf_user_pt_regs_t *ctx, struct func *f, struct hit *h)
{
	if (!f || !h)
		return 1;
	for (__u32 i = 0; i < MAX_CHECKS; i++) {
		if (i >= f->nchecks)
			break;
		if (!holds(ctx, h, f->checks + i))
			return 0;
	}
	return 1;
}

/* The goroutine of a hit; NULL when there is no room for one. */
static __noinline struct owner *goroutine_of(struct thread *t)
{
	struct goroutine_key key = {};
	struct owner *o;

	key.g = t->hit.g;
	key.tgid = t->owner.tgid;
	o = bpf_map_lookup_elem(&goroutines, &key);
	if (!o)
		o = new_goroutine(t);
	return o;
}

/* The owner of a hit; NULL when there is no room for one. */
static __always_inline struct owner *owner_of(struct thread *t)
{
	return t->hit.goid ? goroutine_of(t) : &t->owner;
}

/* The id under which a call that begins is counted. */
__noinline int instance_of(bpf_user_pt_regs_t *ctx, struct func *f, struct hit *h)
{
	struct instance_key key = {};
	__u32 *id;

	if (!f || !h)
		return 0;
	key.func = (__u32)h->cookie & COOKIE_FUNC;
	key.dictionary = word_of(ctx, h, f->dict_move, 0, 8) - h->bias;
	id = bpf_map_lookup_elem(&instances, &key);
	return id ? *id : key.func;
}

/* What is below a panic's position runs after it: it is over. */
static __always_inline void go_on(struct owner *o, struct hit *h)
{
	if (o->flags & OWNER_PANICS && h->at <= o->panic)
		o->flags &= ~OWNER_PANICS;
	o->last = h->ts;
}

static long exit_one(__u64 i, struct owner **arg)
{
	struct owner *o = *arg;
	struct frame *f = frame_at(o, i);

	if (f && !(f->flags & FRAME_COUNTED)) {
		die(o, f);
		f->flags &= ~FRAME_GONE; /* deferred functions run on it */
	}
	return 0;
}

/* Finds the frame that a hit returns from, and closes what is dead above it: its index, or -1. */
__noinline int search(struct hit *h, struct owner *o)
{
	struct frame *top;
	int i;

	if (!h || !o || !o->n)
		return -1;
	i = o->n - 1;
	top = frame_at(o, i);
	if (!top)
		return -1;
	if (top->pos == h->at && top->func == ((__u32)h->cookie & COOKIE_FUNC) && !(top->flags & FRAME_GONE))
		return i;
	i = find(o, h->at, (__u32)h->cookie & COOKIE_FUNC);
	if (i >= 0)
		sweep(o, h->at, SWEEP_EXIT, i);
	else if (o->flags & OWNER_MIXED || top->pos >= h->at)
		sweep(o, h->at, SWEEP_STRAY, 0);
	return i;
}

/*
 * Whether the function that is at its entry was reached by a tail jump from one whose return a uretprobe will see: it
 * returns to the trampoline that uretprobes have put in place of that one's return address.
 */
static __always_inline bool returns_to_probe(bpf_user_pt_regs_t *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 address = RETURN_ADDRESS(ctx);

	return address && address == BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
}

/* Closes the frames that are dead when a hit happens. */
__noinline int settle(bpf_user_pt_regs_t *ctx, struct func *f, struct hit *h, struct owner *o)
{
	struct frame *top;

	if (!f || !h || !o)
		return 0;
	h->index = -1;
	if (o->goid != h->goid) {
		/* Its goroutine has ended; what it left behind was never returned from. */
		sweep(o, 0, SWEEP_CATCH, 0);
	} else if (!o->n) {
		return 0;
	} else if (h->kind == EVENT_EXIT) {
		h->index = search(h, o);
	} else if (f->role == ROLE_CALL) {
		top = frame_at(o, o->n - 1);
		/* Called anew, as it may be where nobody sees that something was raised: whoever was there is gone. */
		if (top && top->pos == h->at && top->flags & FRAME_RETURNS && !returns_to_probe(ctx))
			top->flags |= FRAME_PASSED;
		if (o->flags & OWNER_MIXED || (top && top->pos >= h->at))
			sweep(o, h->at, SWEEP_ENTRY, 0);
	} else if (f->role != ROLE_LIBRARY_MAP && !(f->flags & FUNC_FINDS_ERRNO)) {
		/* Which brings the entries that were held back: what is raised must come after them. */
		sweep(o, h->at, f->role == ROLE_CATCH ? SWEEP_CATCH : SWEEP_ENTRY, 0);
	}
	return 0;
}

/* The goroutine that runtime.recovery(gp) is about: what it captures, it captures from gp. */
static __noinline struct owner *recovering(bpf_user_pt_regs_t *ctx, struct func *f, struct thread *t)
{
	struct goroutine_key key = { .tgid = t->owner.tgid };
	__u32 i = f->entry.moves;
	struct move *m = bpf_map_lookup_elem(&moves, &i);

	if (!m || !f->entry.nmoves)
		return NULL;
	key.g = reg_by_number(ctx, m->reg);
	return bpf_map_lookup_elem(&goroutines, &key);
}

/* Whether what a function with a role tells is of no use, since its thread or goroutine has no call open. */
static __always_inline bool is_needless(struct pt_regs *ctx, struct func *f, struct thread *t, struct owner *o)
{
	switch (f->role) {
	case ROLE_GO_RECOVERY:
		o = recovering(ctx, f, t);
		return !o || !o->n;
	case ROLE_GO_PANIC:
	case ROLE_GO_FATAL:
	case ROLE_GO_UNCAUGHT:
	case ROLE_GOEXIT:
	case ROLE_FORCED:
	case ROLE_LONGJMP:
		return o && !o->n;
	}
	return false; /* an exception may be thrown anew, in a call that began after it */
}

/* Decides whether what is raised is told with the stack. */
static __always_inline __u8 choose_stack(struct func *f, struct owner *o)
{
	if (o && !o->n)
		return STACK_NEEDLESS;
	if (f->control.keep != RATE_ALL && bpf_get_prandom_u32() >= f->control.keep)
		return STACK_LEFT_OUT;
	return STACK_WANTED;
}

/* Counts a hit of a function with a role, and what it took. */
static __always_inline void count_note(__u32 role, struct hit *h)
{
	struct notes *n = bpf_map_lookup_elem(&notes, &role);
	__u64 took = bpf_ktime_get_ns() - h->ts;

	if (!n)
		return;
	__sync_fetch_and_add(&n->hits, 1);
	__sync_fetch_and_add(&n->took, took);
	if (h->stack == STACK_LEFT_OUT) {
		__sync_fetch_and_add(&n->stackless, 1);
	} else if (h->stack == STACK_WANTED) {
		__sync_fetch_and_add(&n->stacks, 1);
		__sync_fetch_and_add(&n->stacking, took);
	}
}

/* Takes note of what a function with a role means to the calls that are open. */
static __always_inline void take_note(struct func *f, struct hit *h, struct owner *o)
{
	o->last = h->ts;
	if (f->flags & FUNC_RAISES)
		o->raised = h->ts;
	switch (f->role) {
	case ROLE_GO_UNCAUGHT:
		if (o->flags & OWNER_PANICS)
			break;
		/* Its beginning was not seen. */
	case ROLE_GO_PANIC:
	case ROLE_GO_FATAL:
		o->panic = h->at;
		o->flags |= OWNER_PANICS;
		break;
	case ROLE_FORCED:
		o->flags |= OWNER_FORCED;
		break;
	case ROLE_GOEXIT:
		bpf_loop(o->n, exit_one, &o, 0);
		break;
	}
	h->inside = innermost(o);
}

/* A function with a role is entered. */
static __always_inline void note(struct pt_regs *ctx, struct func *f, struct thread *t, struct owner *o)
{
	struct hit *h = &t->hit;

	if (f->flags & FUNC_FINDS_ERRNO) {
		find_errno(f, h);
		return;
	}
	share(t);
	h->stack = choose_stack(f, o);
	if (o && f->role != ROLE_LIBRARY_MAP)
		take_note(f, h, o);
	if (stats_only && f->role != ROLE_LIBRARY_MAP)
		h->stack = STACK_NEEDLESS;
	else if (is_needless(ctx, f, t, o))
		h->stack = STACK_NEEDLESS;
	else
		deliver(ctx, f, t, NULL);
	if (o && o->dead)
		tell_all(o);
	count_note(f->role, h);
}

/* Keeps the root block of a call that begins, which is words in registers. */
__noinline int keep_words(bpf_user_pt_regs_t *ctx, struct side *side, struct frame *frame)
{
	if (!side || !frame)
		return 0;
	for (__u32 i = 0; i < FLAT_WORDS; i++) {
		if (i >= side->root / 8)
			break;
		frame->words[i] = make_word(ctx, side->words >> i * 8);
	}
	return 0;
}

/*
 * Copies user memory into the root block of a frame, as much as the verifier sees to fit at once: bytes, 0
 * when it can't be read.
 */
__noinline int keep_piece(struct frame *frame, __u32 at, __u32 size, __u64 addr)
{
	const __u32 room = sizeof(frame->words);
	__u8 *to;

	if (!frame)
		return 0;
	to = (__u8 *)frame->words;
	if (size >= 64 && at <= room - 64)
		return read_user(to + at, 64, addr) ? 0 : 64;
	if (size >= 32 && at <= room - 32)
		return read_user(to + at, 32, addr) ? 0 : 32;
	if (size >= 16 && at <= room - 16)
		return read_user(to + at, 16, addr) ? 0 : 16;
	if (at > room - 8)
		return 0;
	if (size >= 8)
		return read_user(to + at, 8, addr) ? 0 : 8;
	size = bounded(size, 8);
	return read_user(to + at, size, addr) ? 0 : size;
}

/* Makes move i of the plan into the root block of a frame: 0, or 1 when it could not be read. */
__noinline int keep_move(bpf_user_pt_regs_t *ctx, struct hit *h, struct frame *frame, __u32 i)
{
	struct move *m = bpf_map_lookup_elem(&moves, &i);
	__u32 at, size, part;
	__u64 v;

	if (!m || !h || !frame)
		return 1;
	v = m->source == SOURCE_CFA ? cfa_of(ctx, h->flags) : reg_by_number(ctx, m->reg);
	if (m->source != SOURCE_REGISTER) {
		at = m->dst;
		size = m->size;
		v += m->off;
		for (int k = 0; k < KEPT_WORDS && size; k++) {
			part = keep_piece(frame, at, size, v);
			if (!part)
				return 1;
			at += part;
			size -= part;
			v += part;
		}
		return 0;
	}
	v >>= (m->off & 7) * 8;
	at = bounded(m->dst, sizeof(frame->words));
	if (at > sizeof(frame->words) - 8)
		return 1;
	switch (m->size) {
	case 1: *((__u8 *)frame->words + at) = v; break;
	case 2: *(__u16 *)((__u8 *)frame->words + at) = v; break;
	case 4: *(__u32 *)((__u8 *)frame->words + at) = v; break;
	default: *(__u64 *)((__u8 *)frame->words + at) = v; /* 3, 5, 6, 7: what is too much, a later move overwrites */
	}
	return 0;
}

/* Keeps the root block of a call that begins, whatever it is made of. */
__noinline int keep_root(bpf_user_pt_regs_t *ctx, struct side *side, struct hit *h, struct frame *frame)
{
	if (!side || !h || !frame)
		return 0;
	for (__u32 i = 0; i < MAX_MOVES; i++) {
		if (i >= side->nmoves)
			break;
		frame->missed |= (__u32)keep_move(ctx, h, frame, side->moves + i) << i;
	}
	return 0;
}

/* Keeps what the entry of a call that is not told would need, if it has room in its frame: flags of that. */
static __always_inline __u32 keep(struct pt_regs *ctx, struct func *f, struct hit *h, struct owner *o)
{
	struct frame *frame = next_slot(o);

	frame->missed = 0;
	if (f->flags & FUNC_WORDS)
		keep_words(ctx, &f->entry, frame);
	else if (f->flags & FUNC_KEEPS)
		keep_root(ctx, &f->entry, h, frame);
	else
		return 0;
	return FRAME_WORDS;
}

/*
 * Decides by chance whether a call that begins is recorded: flags of its frame. What was
 * chosen keeps all that it calls, so that a trace is whole; what is called by others decides
 * for itself.
 */
static __always_inline __u32 choose(struct control *c, struct hit *h, struct frame *caller)
{
	h->more = RATE_ALL;
	if (caller && caller->flags & FRAME_CHOSEN && !(c->state & CONTROL_ALONE))
		return FRAME_CHOSEN;
	if (c->keep == RATE_ALL)
		return 0;
	h->more = c->keep;
	return bpf_get_prandom_u32() < c->keep ? FRAME_CHOSEN : FRAME_LEFT_OUT | FRAME_LATE;
}

/* Why a call is not recorded whose entry was not delivered. */
static __always_inline __u32 loss_of(int outcome)
{
	return FRAME_LATE | (outcome == LOST ? FRAME_LOST : FRAME_CROWDED);
}

/* Tells of a call that begins, as far as it is to be told: flags of its frame. */
static __always_inline __u32 tell_entry(struct pt_regs *ctx, struct func *f, struct thread *t, struct owner *o, __u32 flags)
{
	struct hit *h = &t->hit;
	bool keeps;
	int outcome;

	if (flags & FRAME_LEFT_OUT && !(flags & FRAME_LATE))
		return flags;
	if (flags & FRAME_LEFT_OUT && f->flags & (FUNC_WORDS | FUNC_KEEPS))
		return flags | keep(ctx, f, h, o);
	if (flags & FRAME_LEFT_OUT)
		h->more = RATE_ALL; /* it is kept back, for the case that it fails; what is too long for that, is recorded */
	keeps = flags & FRAME_LEFT_OUT || f->flags & FUNC_HOLD;
	if (!keeps && o->held)
		bring_all(o, o->n);
	outcome = deliver(ctx, f, t, keeps ? o : NULL);
	if (outcome == HELD)
		return flags | FRAME_HELD;
	flags &= FRAME_CHOSEN;
	if (outcome == DELIVERED)
		return flags | FRAME_TOLD;
	return flags | loss_of(outcome) | keep(ctx, f, h, o);
}

/* A traced function is entered. */
__noinline int begin(bpf_user_pt_regs_t *ctx, struct func *f, struct thread *t, struct owner *o)
{
	struct frame *top;
	struct hit *h;
	__u32 flags;

	if (!f || !t)
		return 0;
	h = &t->hit;
	h->spent = 0;
	h->more = RATE_ALL;
	share(t);
	if (!o) {
		__sync_fetch_and_add(&untracked, 1);
		flags = stats_only ? ENDED_LEFT_OUT : 0;
		if (!stats_only) {
			switch (deliver(ctx, f, t, NULL)) {
			case LOST: flags = ENDED_LOST; break;
			case CROWDED: flags = ENDED_CROWDED; break;
			}
		}
		tally(h->counted, 0, ENDED_OPEN | flags, 0);
		return 0;
	}
	top = o->n ? frame_at(o, o->n - 1) : NULL;
	if (top && top->pos > h->at)
		o->flags |= OWNER_MIXED;
	h->inside = top ? top->mark : o->n ? 0 : MARK_NONE;
	go_on(o, h);
	if (f->flags & FUNC_GENERIC)
		h->counted = instance_of(ctx, f, h);
	if (stats_only)
		flags = FRAME_LEFT_OUT;
	else
		flags = choose(&f->control, h, top);
	if (f->nchecks && !wanted_call(ctx, f, h))
		flags = (flags & FRAME_CHOSEN) | FRAME_LEFT_OUT | (f->flags & FUNC_KEEPS_ERRORS ? FRAME_LATE : 0);
	flags = tell_entry(ctx, f, t, o, flags);
	if (f->flags & FUNC_GO && !h->goid)
		flags |= FRAME_SYSTEM;
	if (f->flags & FUNC_RETURNS)
		flags |= FRAME_RETURNS;
	push(o, h, flags | (h->state & ~(CONTROL_EPOCH - 1)), f->flags & FUNC_SAVES ? reg_by_number(ctx, f->saved) : 0);
	return 0;
}

/* What the probes took of a call: in its own duration, and in its caller's. */
static __always_inline void charge(struct hit *h, struct control *c, struct frame *frame)
{
	bool told = frame->flags & FRAME_TOLD;

	h->more = frame->overhead + (told ? c->told_share : c->share);
	if (h->more > h->ts - frame->ts)
		h->more = h->ts - frame->ts;
	h->spent = frame->overhead + (told ? c->told_cost : c->cost);
}

/* A call that was not told of has failed: now it is. */
static __always_inline struct frame *redeem(struct owner *o, struct frame *frame, __u32 i)
{
	bool told = tell_late(o, frame, i);

	frame = frame_at(o, i);
	if (frame)
		frame->flags = (frame->flags & ~(FRAME_LEFT_OUT | FRAME_LOST | FRAME_CROWDED)) | (told ? FRAME_TOLD : 0);
	return frame;
}

/* A traced function returns, or leaves by a tail jump. */
__noinline int end(bpf_user_pt_regs_t *ctx, struct func *f, struct thread *t, struct owner *o)
{
	struct frame *frame = NULL;
	struct hit *h;
	__u64 spent;
	__u32 flags;

	if (!f || !t)
		return 0;
	h = &t->hit;
	if (o && h->index >= 0)
		frame = frame_at(o, h->index);
	if (frame) {
		h->saved = frame->saved;
		h->bias = frame->bias;
	}
	if (f->exit.fail_test != FAIL_NEVER && !(h->flags & EVENT_TAIL))
		h->failed = fails(&f->exit, word_of(ctx, h, f->exit.fail_move, f->exit.fail_off, f->exit.fail_size));
	h->spent = h->more = 0;
	if (!frame || !o) {
		/* It began before it was traced, or in the process that this one was forked from, or while nobody looked. */
		if (!stats_only && h->state < CONTROL_EPOCH)
			deliver(ctx, f, t, NULL);
		if (o)
			go_on(o, h);
		return 0;
	}
	if (is_unseen(frame)) {
		/* It may have returned, and another call of its function begun, while nobody saw it. */
		if (frame->flags & FRAME_HELD)
			let_go(o, frame, h->index);
		if (!(frame->flags & FRAME_COUNTED))
			tally(frame->counted, 0, ENDED_OPEN | fate_of(frame), 0);
		go_on(o, h);
		finish(o, h->index, h->at, 0);
		return 0;
	}
	if (frame->flags & FRAME_HELD) {
		if (frame->flags & FRAME_LATE ? h->failed : h->failed || h->ts - frame->ts >= f->least) {
			if (!(frame->flags & FRAME_LATE))
				bring_all(o, h->index + 1);
		} else {
			let_go(o, frame, h->index);
			frame->flags |= FRAME_LEFT_OUT;
		}
	}
	frame = frame_at(o, h->index);
	if (frame && h->failed && frame->flags & FRAME_LATE)
		frame = redeem(o, frame, h->index);
	if (!frame)
		return 0;
	h->counted = frame->counted;
	flags = frame->flags;
	charge(h, &f->control, frame);
	if (!(flags & FRAME_COUNTED))
		tally(h->counted, h->ts - frame->ts, fate_of(frame) | (h->failed ? ENDED_ERR : ENDED_OK) | (h->index ? 0 : ENDED_OUTERMOST), h->more);
	spent = h->spent;
	if (flags & FRAME_TOLD) {
		h->spent = 0;
		deliver(ctx, f, t, NULL);
		spent += h->spent;
	}
	go_on(o, h);
	finish(o, h->index, h->at, spent);
	return 0;
}

/*
 * The program of all sites, which cookies tell apart: one, since the kernel verifies each by
 * itself, with all that it calls.
 */
SEC("uprobe.multi.s")
int hit(struct pt_regs *ctx)
{
	struct task_struct *task;
	struct thread *t;
	struct owner *o;
	struct func *f;
	__u64 cookie;

	if (!active)
		return 0;
	task = bpf_get_current_task_btf();
	t = thread_of(task);
	if (!t)
		return unknown_thread(ctx, task->tgid);
	cookie = bpf_get_attach_cookie(ctx);
	if (cookie & COOKIE_COND && !condition_holds(ctx, cookie >> COOKIE_COND_SHIFT & 15))
		return 0;
	t->hit.kind = cookie & COOKIE_EXIT ? EVENT_EXIT : EVENT_ENTRY;
	t->hit.flags = (cookie & COOKIE_TAIL ? EVENT_TAIL : 0) | (cookie & COOKIE_RETURNED ? EVENT_URETPROBE : 0);
	t->hit.failed = 0;
	t->hit.stack = STACK_WANTED;
	t->hit.saved = 0;
	t->hit.cookie = cookie;
	t->hit.counted = (__u32)cookie & COOKIE_FUNC;
	t->hit.more = t->hit.spent = 0;
	t->hit.inside = 0;
	take_time(&t->hit, task);
	f = function_of(t->hit.counted);
	if (!f)
		return 0;
	/* While a function changes over from one link to another, both are there. */
	t->hit.state = *(volatile __u32 *)&f->control.state;
	if ((t->hit.state ^ cookie >> COOKIE_LINK_SHIFT) & CONTROL_LINK)
		return 0;
	t->hit.bias = cookie & COOKIE_RETURNED ? 0 : REGS_IP(ctx) - f->address - ((__s64)cookie >> COOKIE_OFFSET_SHIFT);
	find_place(ctx, f, &t->hit);
	o = owner_of(t);
	if (o) {
		if (f->flags & FUNC_GO)
			o->top = t->hit.high;
		settle(ctx, f, &t->hit, o);
		if (o->dead) {
			tell_all(o);
			sweep(o, 0, SWEEP_GONE, 0);
		}
		if (o->goid != t->hit.goid) {
			o->goid = t->hit.goid;
			o->flags = 0;
			o->raised = 0;
		}
	}
	if (cookie & COOKIE_EXIT)
		end(ctx, f, t, o);
	else if (f->role != ROLE_CALL)
		note(ctx, f, t, o);
	else
		begin(ctx, f, t, o);
	return 0;
}

/* How often functions were seen by glimpse, per CPU, by their ids. */
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 1); } glimpses SEC(".maps");

/* From where, for one hit of CALLERS_EVERY. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct caller); __type(value, __u64); __uint(max_entries, MAX_CALLERS); } callers SEC(".maps");

static __always_inline void note_caller(struct pt_regs *ctx, __u32 id, __u32 tgid)
{
	struct caller key = {.func = id, .tgid = tgid, .address = RETURN_ADDRESS(ctx)};
	__u64 one = 1, *n;

	n = bpf_map_lookup_elem(&callers, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
	else
		bpf_map_update_elem(&callers, &key, &one, BPF_NOEXIST);
}

/*
 * Sees how often functions are entered, and from where, and nothing else: it costs the least that a
 * probe can. Who uses it, reads its counts when it is put in and before it is taken out.
 */
SEC("uprobe.multi")
int glimpse(struct pt_regs *ctx)
{
	__u32 id = bpf_get_attach_cookie(ctx) & COOKIE_FUNC, tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 *n;

	if (!wanted(tgid))
		return leave_alone();
	n = bpf_map_lookup_elem(&glimpses, &id);
	if (n && __sync_fetch_and_add(n, 1) % CALLERS_EVERY == 0)
		note_caller(ctx, id, tgid);
	return 0;
}

/*
 * The signal that kills a process of which one is delivered to a thread; 0 when it doesn't.
 * Only those that dump core are delivered as what they are: the kernel has the others, and
 * all threads but one, ended by SIGKILL (complete_signal and get_signal in its signal.c), as
 * it has the threads of a process that exits.
 */
static __always_inline int killer(struct task_struct *task, int sig, struct k_sigaction *action)
{
	/* SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG and SIGWINCH, when nobody handles them. */
	const __u64 harmless = 1ULL << 17 | 1ULL << 18 | 1ULL << 19 | 1ULL << 20 | 1ULL << 21 | 1ULL << 22 | 1ULL << 23 | 1ULL << 28;

	if (sig == 9)
		sig = BPF_CORE_READ(task, signal, group_exit_code) & ~0x80;
	if (sig <= 0 || sig > 64 || (sig < 64 && harmless >> sig & 1) || BPF_CORE_READ(action, sa.sa_handler))
		return 0;
	return sig;
}

SEC("raw_tp/signal_deliver")
int on_signal(struct raw_tracepoint *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 id_pair = bpf_get_current_pid_tgid(), *regs;
	__u32 tgid = id_pair >> 32, tid = id_pair;
	struct thread *t;
	struct pt_regs *user;
	struct process *p;
	struct scratch *s;
	int sig;

	p = bpf_map_lookup_elem(&processes, &tgid);
	if (!active || stats_only || !p || p->flags & PROCESS_DYING)
		return 0;
	sig = killer(task, (int)ctx->args[0], (void *)ctx->args[2]);
	if (!sig || __sync_fetch_and_or(&p->flags, PROCESS_DYING) & PROCESS_DYING)
		return 0;
	t = known_thread(tid);
	if (t && t->owner.tgid == tgid)
		bring_all(&t->owner, t->owner.n);
	s = take();
	if (!s)
		return 0;
	__builtin_memset(&s->event, 0, sizeof(s->event));
	s->event.kind = EVENT_SIGNAL;
	s->event.tgid = tgid;
	s->event.tid = (__u32)id_pair;
	s->event.ts = bpf_ktime_get_ns();
	s->event.arg = sig;
	s->walk.used = 0;
	user = (struct pt_regs *)bpf_task_pt_regs(task);
	regs = (__u64 *)add_block(s, 0, TYPE_REGISTERS, REGISTERS * 8);
#pragma unroll
	for (__u32 i = 0; i < REGISTERS - 1; i++)
		regs[i] = reg_by_number(user, i);
	regs[REGISTERS - 1] = s->event.ip = REGS_IP(user);
	copy_pages(s, reg_by_number(user, SP_NUMBER), true);
	if (report(s, true) != DELIVERED)
		__sync_fetch_and_add(&lost_process_events, 1);
	give_back(s);
	return 0;
}

static __always_inline void tell(__u8 kind, __u32 tgid, __u32 tid, __u64 arg, __u64 more)
{
	struct stamped s = {
		.after = bpf_ringbuf_query(&events, BPF_RB_PROD_POS),
		.event = { .kind = kind, .size = sizeof(s.event), .tgid = tgid, .tid = tid, .ts = bpf_ktime_get_ns(), .arg = arg, .more = more },
	};

	if (bpf_ringbuf_output(&errors, &s, sizeof(s), BPF_RB_FORCE_WAKEUP))
		__sync_fetch_and_add(&lost_process_events, 1);
}

/*
 * Delivers the entry of a call that failed as its thread ended, where nothing may sleep: without
 * what its pointers lead to.
 */
static __always_inline void tell_last(struct owner *o, struct frame *frame, __u32 i)
{
	struct stamped *s;
	struct func *f;
	__u64 *words;

	if (frame->flags & FRAME_HELD) {
		if (deliver_held(o, frame, i) != DELIVERED)
			lose(frame->counted, EVENT_ENTRY, LOST);
		return;
	}
	f = function_of(frame->func);
	s = f ? bpf_ringbuf_reserve(&errors, sizeof(*s) + sizeof(frame->words), 0) : NULL;
	if (!s) {
		lose(frame->counted, EVENT_ENTRY, LOST);
		return;
	}
	s->after = bpf_ringbuf_query(&events, BPF_RB_PROD_POS);
	fill_late(&s->event, f, o, frame);
	s->event.size = sizeof(s->event) + sizeof(frame->words);
	s->event.root = sizeof(frame->words);
	s->event.missed = frame->flags & FRAME_WORDS ? frame->missed : 0xffffffff;
	words = (__u64 *)(s + 1);
#pragma unroll
	for (__u32 k = 0; k < KEPT_WORDS; k++)
		words[k] = frame->words[k];
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
}

static long close_one(__u64 i, struct owner **arg)
{
	struct owner *o = *arg;
	struct frame *f;
	__u32 how;

	if (!o->n)
		return 1;
	f = frame_at(o, o->n - 1);
	if (f && !(f->flags & FRAME_COUNTED)) {
		how = o->sweep;
		if (how == ENDED_ERR && is_unseen(f))
			how = ENDED_OPEN;
		if (how == ENDED_ERR && f->flags & FRAME_LATE) {
			f->flags |= FRAME_DEAD;
			f->saved = o->sweep_at;
			tell_last(o, f, o->n - 1);
		} else {
			how |= fate_of(f);
		}
		tally(f->counted, o->sweep_at > f->ts ? o->sweep_at - f->ts : 0, how, f->overhead);
	}
	if (f && f->flags & FRAME_HELD)
		let_go(o, f, o->n - 1);
	pop(o);
	return 0;
}

/* A thread is no more, or executes another program: what was open is counted. */
static __noinline void close_thread(__u32 tid, __u32 how)
{
	struct thread *t = known_thread(tid);
	struct owner *o;

	if (!t)
		return;
	o = &t->owner;
	bring_all(o, o->n);
	o->sweep_at = bpf_ktime_get_ns();
	o->sweep = o->flags & OWNER_FORCED ? ENDED_ERR : how;
	bpf_loop(o->n, close_one, &o, 0);
	forget_thread(t, tid);
}

/* Whether a signal that ends a process is sent to stop it, rather than by its own fault: SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM. */
static __always_inline bool stops(__u32 sig)
{
	const __u32 signals = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 9 | 1u << 15;

	return sig < 32 && signals >> sig & 1;
}

SEC("raw_tp/sched_process_fork")
int on_fork(struct raw_tracepoint *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	__u32 tgid = BPF_CORE_READ(parent, tgid), new_tgid = BPF_CORE_READ(child, tgid);
	struct errno_place *place;
	struct process *p;

	if (tgid == new_tgid || !follow_children)
		return 0;
	p = bpf_map_lookup_elem(&processes, &tgid);
	if (!p)
		return 0;
	/* In the forking thread, before the child runs: not one of its calls is missed. */
	bpf_map_update_elem(&processes, &new_tgid, p, BPF_ANY);
	place = bpf_map_lookup_elem(&errnos, &tgid);
	if (place)
		bpf_map_update_elem(&errnos, &new_tgid, place, BPF_ANY);
	tell(EVENT_FORK, tgid, BPF_CORE_READ(parent, pid), new_tgid, 0);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int on_exec(struct raw_tracepoint *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct linux_binprm *bprm = (void *)ctx->args[2];
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct image image = {
		.inode = BPF_CORE_READ(bprm, file, f_inode, i_ino),
		.dev = BPF_CORE_READ(bprm, file, f_inode, i_sb, s_dev),
	};
	struct process *p, fresh = { .program = bpf_ktime_get_ns() };
	__u32 report = report_execs, before = ctx->args[1];

	p = bpf_map_lookup_elem(&processes, &tgid);
	if (p) {
		p->program = fresh.program;
		report = 1;
	} else {
		/* A program that is already attached to: its new process is traced from its first instruction. */
		p = bpf_map_lookup_elem(&images, &image);
		if (p) {
			bpf_map_update_elem(&processes, &tgid, &fresh, BPF_ANY);
			report = 1;
		}
	}
	close_thread(before, ENDED_OPEN);
	if (report)
		tell(EVENT_EXEC, tgid, BPF_CORE_READ(task, pid), before, 0);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(struct raw_tracepoint *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	__u32 tgid = BPF_CORE_READ(task, tgid), code, inside;
	struct thread *t;
	bool last;

	if (!wanted(tgid))
		return 0;
	code = BPF_CORE_READ(task, exit_code) & 0x7f;
	t = known_thread(BPF_CORE_READ(task, pid));
	inside = t ? innermost(&t->owner) : 0;
	close_thread(BPF_CORE_READ(task, pid), code && !stops(code) ? ENDED_ERR : ENDED_OPEN);
	/* Counted down before this tracepoint. */
	last = BPF_CORE_READ(task, signal, live.counter) == 0;
	if (last) {
		bpf_map_delete_elem(&processes, &tgid);
		bpf_map_delete_elem(&errnos, &tgid);
	}
	/* Of the threads that have ended before, and of this one. */
	tell(EVENT_DEATH, tgid, BPF_CORE_READ(task, pid), last | code << 8 | (__u64)inside << DEATH_INSIDE,
	     last ? BPF_CORE_READ(task, signal, sum_sched_runtime) + BPF_CORE_READ(task, se.sum_exec_runtime) : 0);
	return 0;
}
