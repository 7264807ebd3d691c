/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What differs between the processors: the layout of a probe's registers (the
 * kernel's ABI, uapi asm/ptrace.h) and how a register is found by its DWARF number.
 */
#ifndef OBSERVATORY_TRACE_ARCH_H
#define OBSERVATORY_TRACE_ARCH_H

/*
 * A register, loaded at a fixed offset of the context. In assembly, since the compiler would
 * else merge the cases of a switch into one load at a computed offset, which the verifier refuses.
 */
#define LOAD_REG(ctx, field) ({								\
	__u64 __v;									\
	asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(__v)				\
		     : "r"(ctx), "i"(__builtin_offsetof(struct pt_regs, field)));	\
	__v;										\
})

#if defined(__TARGET_ARCH_x86)

struct pt_regs {
	unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	unsigned long rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss;
};

#define REGS_IP(ctx) LOAD_REG(ctx, rip)
#define LOAD_G(ctx) LOAD_REG(ctx, r14) /* Go ABIInternal: the current goroutine */
/* At an entry site and at a RET, rsp points to the return address. */
#define REGS_CFA(ctx) ((ctx)->rsp + 8)
/* A uretprobe runs after the return address was popped. */
#define REGS_CFA_RETURNED(ctx) ((ctx)->rsp)
#define REGS_FP(ctx) LOAD_REG(ctx, rbp)

/* Where the function that is at its entry returns to; 0 when that isn't known. */
#define RETURN_ADDRESS(ctx) ({								\
	__u64 __address;								\
	bpf_probe_read_user(&__address, sizeof(__address), (void *)LOAD_REG(ctx, rsp)) ? 0 : __address;	\
})
#define REGISTERS 17 /* DWARF's 0 to 15, and the program counter in place of its return address */
#define SP_NUMBER 7

static __always_inline __u64 reg_by_number(struct pt_regs *ctx, __u8 n)
{
	switch (n) {
	case 0: return LOAD_REG(ctx, rax);
	case 1: return LOAD_REG(ctx, rdx);
	case 2: return LOAD_REG(ctx, rcx);
	case 3: return LOAD_REG(ctx, rbx);
	case 4: return LOAD_REG(ctx, rsi);
	case 5: return LOAD_REG(ctx, rdi);
	case 6: return LOAD_REG(ctx, rbp);
	case 7: return LOAD_REG(ctx, rsp);
	case 8: return LOAD_REG(ctx, r8);
	case 9: return LOAD_REG(ctx, r9);
	case 10: return LOAD_REG(ctx, r10);
	case 11: return LOAD_REG(ctx, r11);
	case 12: return LOAD_REG(ctx, r12);
	case 13: return LOAD_REG(ctx, r13);
	case 14: return LOAD_REG(ctx, r14);
	case 15: return LOAD_REG(ctx, r15);
	}
	return 0;
}

/* Whether the conditional jump with condition code cc (low nibble of its opcode) is taken. */
static __always_inline int condition_holds(struct pt_regs *ctx, __u8 cc)
{
	__u64 f = ctx->eflags;
	int cf = f & 1, pf = f >> 2 & 1, zf = f >> 6 & 1, sf = f >> 7 & 1, of = f >> 11 & 1;
	int holds;

	switch (cc >> 1) {
	case 0: holds = of; break;
	case 1: holds = cf; break;
	case 2: holds = zf; break;
	case 3: holds = cf | zf; break;
	case 4: holds = sf; break;
	case 5: holds = pf; break;
	case 6: holds = sf != of; break;
	default: holds = zf | (sf != of); break;
	}
	return holds != (cc & 1);
}

/* CO-RE: the few fields that are read of the running thread. */
struct thread_struct {
	unsigned long fsbase;
} __attribute__((preserve_access_index));

#define THREAD_POINTER(task) BPF_CORE_READ(task, thread.fsbase)

#elif defined(__TARGET_ARCH_arm64)

struct pt_regs {
	unsigned long regs[31];
	unsigned long sp, pc, pstate;
};

#define REGS_IP(ctx) LOAD_REG(ctx, pc)
#define LOAD_G(ctx) LOAD_REG(ctx, regs[28])
#define REGS_CFA(ctx) ((ctx)->sp)
#define REGS_CFA_RETURNED(ctx) ((ctx)->sp)
#define REGS_FP(ctx) LOAD_REG(ctx, regs[29])
/* Without the bits that a signed address has in addition (AAPCS64, pointer authentication). */
#define RETURN_ADDRESS(ctx) (LOAD_REG(ctx, regs[30]) & ((1ULL << 48) - 1))
#define REGISTERS 33
#define SP_NUMBER 31

static __always_inline __u64 reg_by_number(struct pt_regs *ctx, __u8 n)
{
#define R(i) case i: return LOAD_REG(ctx, regs[i]);
	switch (n) {
	R(0) R(1) R(2) R(3) R(4) R(5) R(6) R(7) R(8) R(9) R(10) R(11) R(12) R(13) R(14) R(15)
	R(16) R(17) R(18) R(19) R(20) R(21) R(22) R(23) R(24) R(25) R(26) R(27) R(28) R(29) R(30)
	case 31: return LOAD_REG(ctx, sp);
	}
#undef R
	return 0;
}

static __always_inline int condition_holds(struct pt_regs *ctx, __u8 cc)
{
	__u64 f = ctx->pstate;
	int n = f >> 31 & 1, z = f >> 30 & 1, c = f >> 29 & 1, v = f >> 28 & 1;
	int holds;

	switch (cc >> 1) {
	case 0: holds = z; break;
	case 1: holds = c; break;
	case 2: holds = n; break;
	case 3: holds = v; break;
	case 4: holds = c & !z; break;
	case 5: holds = n == v; break;
	case 6: holds = (n == v) & !z; break;
	default: return 1;
	}
	return holds != (cc & 1);
}

struct thread_struct {
	struct {
		unsigned long tp_value;
	} uw;
} __attribute__((preserve_access_index));

#define THREAD_POINTER(task) BPF_CORE_READ(task, thread.uw.tp_value)

#else
#error "no such target"
#endif

/* The name by which the verifier knows a probe's context as a function's argument. */
typedef struct pt_regs bpf_user_pt_regs_t;

#endif
