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
	JMP test

	// Four rows side by side, so that no sum waits for another.
rows:
	LEAQ (SI)(DX*1), R12
	LEAQ (SI)(DX*2), R13
	LEAQ (R12)(DX*2), BX
	XORPS X1, X1
	XORPS X4, X4
	XORPS X5, X5
	XORPS X6, X6
	XORQ R10, R10
	XORQ R11, R11

pixels:
	MOVSS (DI)(R11*4), X2
	SHUFPS $0, X2, X2
	MOVUPS (SI)(R10*1), X3
	MOVUPS (R12)(R10*1), X7
	MOVUPS (R13)(R10*1), X8
	MOVUPS (BX)(R10*1), X9
	MULPS X2, X3
	MULPS X2, X7
	MULPS X2, X8
	MULPS X2, X9
	ADDPS X3, X1
	ADDPS X7, X4
	ADDPS X8, X5
	ADDPS X9, X6
	ADDQ $12, R10
	INCQ R11
	CMPQ R11, CX
	JLT pixels

	MOVUPS (R8), X2
	MOVAPS X2, X3
	MOVAPS X2, X7
	MOVAPS X2, X8
	SHUFPS $0x00, X2, X2
	SHUFPS $0x55, X3, X3
	SHUFPS $0xaa, X7, X7
	SHUFPS $0xff, X8, X8
	MULPS X2, X1
	MULPS X3, X4
	MULPS X7, X5
	MULPS X8, X6
	ADDPS X1, X0
	ADDPS X4, X0
	ADDPS X5, X0
	ADDPS X6, X0
	ADDQ $16, R8
	LEAQ (SI)(DX*4), SI
	SUBQ $4, R9

test:
	CMPQ R9, $4
	JGE rows
	TESTQ R9, R9
	JLE done

	// What is left, row by row.
row:
	XORPS X1, X1
	XORQ R10, R10
	XORQ R11, R11

pixel:
	MOVSS (DI)(R11*4), X2
	SHUFPS $0, X2, X2
	MOVUPS (SI)(R10*1), X3
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

done:
	MOVSS X0, red+48(FP)
	MOVAPS X0, X1
	SHUFPS $0x55, X1, X1
	MOVSS X1, green+52(FP)
	MOVHLPS X0, X0
	MOVSS X0, blue+56(FP)
	RET

DATA fours<>+0(SB)/8, $0x4080000040800000
DATA fours<>+8(SB)/8, $0x4080000040800000
GLOBL fours<>(SB), RODATA, $16
DATA sixes<>+0(SB)/8, $0x40c0000040c00000
DATA sixes<>+8(SB)/8, $0x40c0000040c00000
GLOBL sixes<>(SB), RODATA, $16
DATA sixteenths<>+0(SB)/8, $0x3d8000003d800000
DATA sixteenths<>+8(SB)/8, $0x3d8000003d800000
GLOBL sixteenths<>(SB), RODATA, $16

// func splineSSE(dst, a, b, c, d, e *float32, n int)
// n is a multiple of four.
TEXT ·splineSSE(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), R8
	MOVQ b+16(FP), R9
	MOVQ c+24(FP), R10
	MOVQ d+32(FP), R11
	MOVQ e+40(FP), R12
	MOVQ n+48(FP), CX
	MOVUPS fours<>(SB), X5
	MOVUPS sixes<>(SB), X6
	MOVUPS sixteenths<>(SB), X7
	XORQ AX, AX

four:
	MOVUPS (R8)(AX*4), X0
	MOVUPS (R12)(AX*4), X1
	MOVUPS (R9)(AX*4), X2
	MOVUPS (R11)(AX*4), X3
	MOVUPS (R10)(AX*4), X4
	ADDPS X1, X0
	ADDPS X3, X2
	MULPS X5, X2
	ADDPS X2, X0
	MULPS X6, X4
	ADDPS X4, X0
	MULPS X7, X0
	MOVUPS X0, (DI)(AX*4)
	ADDQ $4, AX
	CMPQ AX, CX
	JLT four
	RET
