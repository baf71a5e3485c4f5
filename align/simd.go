package align

// The loops that a warp spends its time in. On amd64 they are written in
// assembly (simd_amd64.s, SSE2, which every such processor has), to the same
// bits; a test compares the two.

// spare is what must follow the last value of what cubicRow and weigh read.
const spare = 1

// goCubicRow writes the values from..to of a row of the crop, for which out are
// the three planes' rows: the cubic convolution of pix (interleaved, width
// pixels a row) at x = (place[0]·i + place[1]) + place[2], y likewise. All
// sixteen pixels around each place must be there.
func goCubicRow(out *[3][]float32, pix []float32, width int, place *[6]float64, from, to int) {
	red, green, blue := out[0], out[1], out[2]
	for i := from; i < to; i++ {
		u, v := place[0]*float64(i)+place[1]+place[2], place[3]*float64(i)+place[4]+place[5]
		x, y := int(u), int(v)
		wx := &cubic[int((u-float64(x))*phases+0.5)]
		wy := &cubic[int((v-float64(y))*phases+0.5)]
		var r, g, b float32
		at := 3 * ((y-1)*width + x - 1)
		for k := range 4 {
			c := (*[12]float32)(pix[at:])
			f := wy[k]
			r += f * (wx[0]*c[0] + wx[1]*c[3] + wx[2]*c[6] + wx[3]*c[9])
			g += f * (wx[0]*c[1] + wx[1]*c[4] + wx[2]*c[7] + wx[3]*c[10])
			b += f * (wx[0]*c[2] + wx[1]*c[5] + wx[2]*c[8] + wx[3]*c[11])
			at += 3 * width
		}
		red[i], green[i], blue[i] = min(max(r, 0), 1), min(max(g, 0), 1), min(max(b, 0), 1)
	}
}

// goWeigh is the sum of the first pixels of pix times their weights.
func goWeigh(pix, weight []float32) (r, g, b float32) {
	in := pix[:3*len(weight)]
	for _, f := range weight {
		p := (*[3]float32)(in)
		r += f * p[0]
		g += f * p[1]
		b += f * p[2]
		in = in[3:]
	}
	return r, g, b
}

// goAddScaled adds f·src to dst.
func goAddScaled(dst, src []float32, f float32) {
	for i, v := range src[:len(dst)] {
		dst[i] += f * v
	}
}

// goChromaPairs makes RGB of n pairs of pixels that hold their luma in red: adds
// what lies between shift[j] and shift[j+1], t and t+½ of the way, and clamps.
func goChromaPairs(dst []float32, shift [][4]float32, t float32, n int) {
	for j := range n {
		a, b := &shift[j], &shift[j+1]
		for i, t := range [2]float32{t, t + 0.5} {
			d := (*[3]float32)(dst[6*j+3*i:])
			l := d[0]
			for k := range d {
				d[k] = clamp(l + a[k] + t*(b[k]-a[k]))
			}
		}
	}
}
