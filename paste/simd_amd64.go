package paste

// weigh is goWeigh, with the same bits. It reads, and ignores, a float after
// the last pixel.
func weigh(pix []float32, stride int, across, down []float32) (r, g, b float32) {
	_ = pix[(len(down)-1)*stride+3*len(across)-1]
	return weighSSE(&pix[0], stride, &across[0], len(across), &down[0], len(down))
}

// spline is goSpline, with the same bits.
func spline(dst, a, b, c, d, e []float32) {
	n := len(dst)
	_, _, _, _, _ = a[:n], b[:n], c[:n], d[:n], e[:n]
	const lanes = 4
	if whole := n &^ (lanes - 1); whole > 0 {
		splineSSE(&dst[0], &a[0], &b[0], &c[0], &d[0], &e[0], whole)
		dst, a, b, c, d, e = dst[whole:], a[whole:], b[whole:], c[whole:], d[whole:], e[whole:]
	}
	goSpline(dst, a, b, c, d, e)
}

//go:noescape
func splineSSE(dst, a, b, c, d, e *float32, n int)

//go:noescape
func weighSSE(pix *float32, stride int, across *float32, n int, down *float32, m int) (red, green, blue float32)
