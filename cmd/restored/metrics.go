package main

import "math"

// luma is ITU-R BT.601 luma of a planar RGB image, as the face restoration
// literature measures SSIM.
func luma(rgb []float32) []float64 {
	n := len(rgb) / 3
	y := make([]float64, n)
	for i := range y {
		y[i] = 0.299*float64(rgb[i]) + 0.587*float64(rgb[n+i]) + 0.114*float64(rgb[2*n+i])
	}
	return y
}

// psnr is the peak signal-to-noise ratio in dB of two planar RGB images in
// [0,1], over all channels.
func psnr(a, b []float32) float64 {
	var sum float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return -10 * math.Log10(sum/float64(len(a)))
}

// ssim is the mean structural similarity of the luma of two planar RGB images
// in [0,1] of size×size: Wang et al. 2004, 11×11 Gaussian window with σ 1.5,
// K1 0.01, K2 0.03, only where the window fits.
func ssim(a, b []float32, size int) float64 {
	const c1, c2 = 0.01 * 0.01, 0.03 * 0.03
	x, y := luma(a), luma(b)
	product := func(p, q []float64) []float64 {
		out := make([]float64, len(p))
		for i := range p {
			out[i] = p[i] * q[i]
		}
		return window(out, size)
	}
	mx, my := window(x, size), window(y, size)
	xx, yy, xy := product(x, x), product(y, y), product(x, y)
	var sum float64
	for i := range mx {
		vx, vy, cov := xx[i]-mx[i]*mx[i], yy[i]-my[i]*my[i], xy[i]-mx[i]*my[i]
		sum += (2*mx[i]*my[i] + c1) * (2*cov + c2) / ((mx[i]*mx[i] + my[i]*my[i] + c1) * (vx + vy + c2))
	}
	return sum / float64(len(mx))
}

// window filters a size×size plane with SSIM's Gaussian; the result has
// (size−10)² values.
func window(p []float64, size int) []float64 {
	const radius, sigma = 5, 1.5
	var g [2*radius + 1]float64
	var norm float64
	for i := range g {
		d := float64(i - radius)
		g[i] = math.Exp(-d * d / (2 * sigma * sigma))
		norm += g[i]
	}
	n := size - 2*radius
	rows := make([]float64, size*n)
	for y := range size {
		for x := range n {
			var s float64
			for k, w := range g {
				s += w * p[y*size+x+k]
			}
			rows[y*n+x] = s / norm
		}
	}
	out := make([]float64, n*n)
	for y := range n {
		for x := range n {
			var s float64
			for k, w := range g {
				s += w * rows[(y+k)*n+x]
			}
			out[y*n+x] = s / norm
		}
	}
	return out
}
