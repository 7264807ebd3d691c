#include "textflag.h"

// func asmAdd(a, b int64) int64
TEXT ·asmAdd(SB), NOSPLIT, $0-24
	MOVD a+0(FP), R0
	MOVD b+8(FP), R1
	ADD  R1, R0, R0
	MOVD R0, ret+16(FP)
	RET

// func asmFramed(a, b int64) int64 has a frame, and a stack check with it.
TEXT ·asmFramed(SB), 0, $64-24
	MOVD a+0(FP), R0
	MOVD R0, 8(RSP)
	MOVD b+8(FP), R1
	MUL  R1, R0, R0
	MOVD R0, ret+16(FP)
	RET
