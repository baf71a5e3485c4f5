//go:build !amd64

package paste

func weigh(pix []float32, stride int, across, down []float32) (r, g, b float32) {
	return goWeigh(pix, stride, across, down)
}

func spline(dst, a, b, c, d, e []float32) { goSpline(dst, a, b, c, d, e) }
