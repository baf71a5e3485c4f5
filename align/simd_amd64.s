#include "textflag.h"

// A pixel of interleaved R, G, B is worked on in the first three lanes of a
// register; the fourth reads the next pixel's red and is left alone. Each lane
// sees the operations of simd.go in their order, so that the bits agree.

DATA phases<>+0(SB)/8, $1024.0
GLOBL phases<>(SB), RODATA, $8
DATA half<>+0(SB)/8, $0.5
GLOBL half<>(SB), RODATA, $8
DATA ones<>+0(SB)/8, $0x3f8000003f800000
DATA ones<>+8(SB)/8, $0x3f8000003f800000
GLOBL ones<>(SB), RODATA, $16

DATA halves<>+0(SB)/8, $0x3f0000003f000000
DATA halves<>+8(SB)/8, $0x3f0000003f000000
GLOBL halves<>(SB), RODATA, $16

// TAPS adds weight·(the weighted sum of the four pixels at R12) to X0 and goes
// a row down. X2 to X5 hold the weights across, AX points to those down.
#define TAPS(offset) \
	MOVUPS (R12), X1       \
	MULPS  X2, X1          \
	MOVUPS 12(R12), X6     \
	MULPS  X3, X6          \
	ADDPS  X6, X1          \
	MOVUPS 24(R12), X6     \
	MULPS  X4, X6          \
	ADDPS  X6, X1          \
	MOVUPS 36(R12), X6     \
	MULPS  X5, X6          \
	ADDPS  X6, X1          \
	MOVSS  offset(AX), X6  \
	SHUFPS $0, X6, X6      \
	MULPS  X6, X1          \
	ADDPS  X1, X0          \
	ADDQ   DX, R12

// func cubicRowSSE(out *[3]*float32, pix *float32, width int, table *[4]float32, place *[6]float64, from, to int)
TEXT ·cubicRowSSE(SB), NOSPLIT, $0-56
	MOVQ out+0(FP), R10
	MOVQ 0(R10), R8
	MOVQ 8(R10), R9
	MOVQ 16(R10), R10
	MOVQ pix+8(FP), SI
	MOVQ width+16(FP), DX
	LEAQ (DX)(DX*2), DX
	SHLQ $2, DX             // bytes from a row to the next
	MOVQ table+24(FP), DI
	MOVQ place+32(FP), R11
	MOVSD 0(R11), X8
	MOVSD 8(R11), X9
	MOVSD 16(R11), X10
	MOVSD 24(R11), X11
	MOVSD 32(R11), X12
	MOVSD 40(R11), X13
	MOVQ from+40(FP), CX
	MOVQ to+48(FP), BX
	MOVUPS ones<>(SB), X14
	XORPS X7, X7
	JMP test

loop:
	// The place in the plane: X0, X1.
	XORPS X0, X0
	CVTSQ2SD CX, X0
	MOVAPS X0, X1
	MULSD X8, X0
	ADDSD X9, X0
	ADDSD X10, X0
	MULSD X11, X1
	ADDSD X12, X1
	ADDSD X13, X1

	// Whole pixels in R11, R12; phases in R13, AX.
	CVTTSD2SQ X0, R11
	CVTTSD2SQ X1, R12
	XORPS X2, X2
	CVTSQ2SD R11, X2
	SUBSD X2, X0
	MULSD phases<>(SB), X0
	ADDSD half<>(SB), X0
	CVTTSD2SQ X0, R13
	XORPS X2, X2
	CVTSQ2SD R12, X2
	SUBSD X2, X1
	MULSD phases<>(SB), X1
	ADDSD half<>(SB), X1
	CVTTSD2SQ X1, AX

	// The weights, and the first of the sixteen pixels.
	SHLQ $4, R13
	MOVUPS (DI)(R13*1), X2
	MOVAPS X2, X3
	MOVAPS X2, X4
	MOVAPS X2, X5
	SHUFPS $0x00, X2, X2
	SHUFPS $0x55, X3, X3
	SHUFPS $0xaa, X4, X4
	SHUFPS $0xff, X5, X5
	SHLQ $4, AX
	ADDQ DI, AX
	DECQ R12
	IMULQ DX, R12
	LEAQ (R11)(R11*2), R11
	LEAQ -12(R12)(R11*4), R12
	ADDQ SI, R12

	XORPS X0, X0
	TAPS(0)
	TAPS(4)
	TAPS(8)
	TAPS(12)
	MAXPS X7, X0
	MINPS X14, X0
	MOVSS X0, (R8)(CX*4)
	MOVAPS X0, X1
	SHUFPS $0x55, X1, X1
	MOVSS X1, (R9)(CX*4)
	MOVHLPS X0, X0
	MOVSS X0, (R10)(CX*4)
	INCQ CX

test:
	CMPQ CX, BX
	JLT loop
	RET

// func weighSSE(pix, weight *float32, n int) (red, green, blue float32)
TEXT ·weighSSE(SB), NOSPLIT, $0-36
	MOVQ pix+0(FP), SI
	MOVQ weight+8(FP), DI
	MOVQ n+16(FP), CX
	XORPS X0, X0
	JMP weightest

weighloop:
	MOVSS (DI), X1
	SHUFPS $0, X1, X1
	MOVUPS (SI), X2
	MULPS X1, X2
	ADDPS X2, X0
	ADDQ $4, DI
	ADDQ $12, SI
	DECQ CX

weightest:
	TESTQ CX, CX
	JG weighloop
	MOVSS X0, red+24(FP)
	MOVAPS X0, X1
	SHUFPS $0x55, X1, X1
	MOVSS X1, green+28(FP)
	MOVHLPS X0, X0
	MOVSS X0, blue+32(FP)
	RET

// func addScaledSSE(dst, src *float32, n int, f float32)
TEXT ·addScaledSSE(SB), NOSPLIT, $0-28
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	MOVSS f+24(FP), X0
	SHUFPS $0, X0, X0
	JMP addtest

addloop:
	MOVUPS (SI), X1
	MOVUPS 16(SI), X2
	MULPS X0, X1
	MULPS X0, X2
	MOVUPS (DI), X3
	MOVUPS 16(DI), X4
	ADDPS X1, X3
	ADDPS X2, X4
	MOVUPS X3, (DI)
	MOVUPS X4, 16(DI)
	ADDQ $32, SI
	ADDQ $32, DI
	SUBQ $8, CX

addtest:
	CMPQ CX, $8
	JGE addloop
	JMP tailtest

addtail:
	MOVSS (SI), X1
	MULSS X0, X1
	ADDSS (DI), X1
	MOVSS X1, (DI)
	ADDQ $4, SI
	ADDQ $4, DI
	DECQ CX

tailtest:
	TESTQ CX, CX
	JG addtail
	RET

// CHROMA makes RGB of the pixel at DI, t of the way from X0 to X0+X1.
#define CHROMA(t) \
	MOVAPS X1, X2        \
	MULPS  t, X2         \
	MOVSS  (DI), X3      \
	SHUFPS $0, X3, X3    \
	ADDPS  X0, X3        \
	ADDPS  X2, X3        \
	MAXPS  X7, X3        \
	MINPS  X6, X3        \
	MOVLPS X3, (DI)      \
	MOVHLPS X3, X3       \
	MOVSS  X3, 8(DI)     \
	ADDQ   $12, DI

// func chromaPairsSSE(dst *float32, shift *[4]float32, t float32, n int)
TEXT ·chromaPairsSSE(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ shift+8(FP), SI
	MOVSS t+16(FP), X4
	MOVQ n+24(FP), CX
	SHUFPS $0, X4, X4
	MOVUPS halves<>(SB), X5
	ADDPS X4, X5
	MOVUPS ones<>(SB), X6
	XORPS X7, X7
	JMP pairtest

pair:
	MOVUPS (SI), X0
	MOVUPS 16(SI), X1
	SUBPS X0, X1
	CHROMA(X4)
	CHROMA(X5)
	ADDQ $16, SI
	DECQ CX

pairtest:
	TESTQ CX, CX
	JG pair
	RET
