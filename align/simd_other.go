//go:build !amd64

package align

func cubicRow(out *[3][]float32, pix []float32, width int, place *[6]float64, from, to int) {
	goCubicRow(out, pix, width, place, from, to)
}

func weigh(pix, weight []float32) (r, g, b float32) { return goWeigh(pix, weight) }

func addScaled(dst, src []float32, f float32) { goAddScaled(dst, src, f) }

func chromaPairs(dst []float32, shift [][4]float32, t float32, n int) {
	goChromaPairs(dst, shift, t, n)
}
