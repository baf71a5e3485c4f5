#include "textflag.h"

// A pixel of interleaved R, G, B is worked on in the first three lanes of a
// register; the fourth reads the next pixel's red and is left alone. Each lane
// sees the operations of simd.go in their order, so that the bits agree.

// func weighSSE(pix *float32, stride int, across *float32, n int, down *float32, m int) (red, green, blue float32)
TEXT ·weighSSE(SB), NOSPLIT, $0-60
	MOVQ pix+0(FP), SI
	MOVQ stride+8(FP), DX
	SHLQ $2, DX
	MOVQ across+16(FP), DI
	MOVQ n+24(FP), CX
	MOVQ down+32(FP), R8
	MOVQ m+40(FP), R9
	XORPS X0, X0

row:
	XORPS X1, X1
	MOVQ SI, R10
	XORQ R11, R11

pixel:
	MOVSS (DI)(R11*4), X2
	SHUFPS $0, X2, X2
	MOVUPS (R10), X3
	MULPS X2, X3
	ADDPS X3, X1
	ADDQ $12, R10
	INCQ R11
	CMPQ R11, CX
	JLT pixel

	MOVSS (R8), X2
	SHUFPS $0, X2, X2
	MULPS X2, X1
	ADDPS X1, X0
	ADDQ $4, R8
	ADDQ DX, SI
	DECQ R9
	JNZ row

	MOVSS X0, red+48(FP)
	MOVAPS X0, X1
	SHUFPS $0x55, X1, X1
	MOVSS X1, green+52(FP)
	MOVHLPS X0, X0
	MOVSS X0, blue+56(FP)
	RET
