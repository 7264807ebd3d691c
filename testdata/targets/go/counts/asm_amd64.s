#include "textflag.h"

// func asmAdd(a, b int64) int64
TEXT ·asmAdd(SB), NOSPLIT, $0-24
	MOVQ a+0(FP), AX
	ADDQ b+8(FP), AX
	MOVQ AX, ret+16(FP)
	RET

// func asmFramed(a, b int64) int64 has a frame, and a stack check with it.
TEXT ·asmFramed(SB), 0, $64-24
	MOVQ a+0(FP), AX
	MOVQ AX, 0(SP)
	MOVQ b+8(FP), CX
	IMULQ 0(SP), CX
	MOVQ CX, ret+16(FP)
	RET
