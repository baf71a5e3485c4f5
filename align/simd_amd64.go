package align

// cubicRow is goCubicRow, with the same bits. It reads, and ignores, a float
// after the last pixel.
func cubicRow(out *[3][]float32, pix []float32, width int, place *[6]float64, from, to int) {
	if from < to {
		rows := [3]*float32{&out[0][0], &out[1][0], &out[2][0]}
		cubicRowSSE(&rows, &pix[0], width, &cubic[0], place, from, to)
	}
}

// weigh is goWeigh, with the same bits. It reads, and ignores, a float after
// the last pixel.
func weigh(pix, weight []float32) (r, g, b float32) {
	_ = pix[3*len(weight)-1]
	return weighSSE(&pix[0], &weight[0], len(weight))
}

// addScaled is goAddScaled, with the same bits.
func addScaled(dst, src []float32, f float32) {
	_ = src[len(dst)-1]
	addScaledSSE(&dst[0], &src[0], len(dst), f)
}

// chromaPairs is goChromaPairs, with the same bits (but for the sign of a 0).
func chromaPairs(dst []float32, shift [][4]float32, t float32, n int) {
	_, _ = dst[6*n-1], shift[n]
	chromaPairsSSE(&dst[0], &shift[0], t, n)
}

//go:noescape
func cubicRowSSE(out *[3]*float32, pix *float32, width int, table *[4]float32, place *[6]float64, from, to int)

//go:noescape
func weighSSE(pix, weight *float32, n int) (red, green, blue float32)

//go:noescape
func addScaledSSE(dst, src *float32, n int, f float32)

//go:noescape
func chromaPairsSSE(dst *float32, shift *[4]float32, t float32, n int)
