package paste

// The loops that pasting spends its time in. On amd64 they are written in assembly
// (simd_amd64.s, SSE2, which every such processor has), to the same bits; a
// test compares the two.

// spare is what must follow the last value of what weigh reads.
const spare = 1

// goWeigh is the sum over len(down) rows, stride values apart, of their weight
// times the weighted sum of len(across) pixels (interleaved R, G, B).
func goWeigh(pix []float32, stride int, across, down []float32) (r, g, b float32) {
	for _, f := range down {
		in := pix[:3*len(across)]
		var sr, sg, sb float32
		for _, e := range across {
			c := (*[3]float32)(in)
			sr += e * c[0]
			sg += e * c[1]
			sb += e * c[2]
			in = in[3:]
		}
		r += f * sr
		g += f * sg
		b += f * sb
		pix = pix[min(stride, len(pix)):]
	}
	return r, g, b
}

// goSpline makes dst the smoothed c: (a + e + 4(b + d) + 6c)/16, value by value.
func goSpline(dst, a, b, c, d, e []float32) {
	n := len(dst)
	a, b, c, d, e = a[:n], b[:n], c[:n], d[:n], e[:n]
	for i, v := range c {
		dst[i] = (a[i] + e[i] + 4*(b[i]+d[i]) + 6*v) / 16
	}
}
