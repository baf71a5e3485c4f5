package paste

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"testing"

	"restored/align"
	"restored/frame"
)

// film makes noise of standard deviation 1, its grains blur pixels wide.
func film(w, h int, blur float64, seed uint64) []float64 {
	r := rand.New(rand.NewPCG(seed, 9))
	in := make([]float64, w*h)
	for i := range in {
		in[i] = r.NormFloat64()
	}
	if blur > 0 {
		var k [13]float64
		for i := range k {
			k[i] = math.Exp(-0.5 * float64((i-6)*(i-6)) / (blur * blur))
		}
		for _, step := range []int{1, w} {
			out := make([]float64, w*h)
			for i := range in {
				for j, f := range k {
					out[i] += f * in[(i+(j-6)*step+w*h)%(w*h)]
				}
			}
			in = out
		}
	}
	var sum float64
	for _, v := range in {
		sum += v * v
	}
	for i := range in {
		in[i] /= math.Sqrt(sum / float64(w*h))
	}
	return in
}

// scene is a picture's luma as a value in 0..1: soft shades, and edges that grain must not hide.
func scene(x, y int) float64 {
	v := 0.45 + 0.15*math.Sin(float64(x)/31)*math.Cos(float64(y)/27)
	if (x/40+y/50)%2 == 0 {
		v += 0.08
	}
	return v
}

// ripples are the detail that the network adds.
func ripples(x, y float64) [3]float64 {
	v := 0.04 * math.Sin(x/2) * math.Cos(y/2.3)
	return [3]float64{v, v, v}
}

const filmW, filmH = 300, 280

// filmed fills a picture with the scene and noise of sigma/255.
func filmed(img image.Image, noise []float64, sigma float64) image.Image {
	at := func(x, y int) float64 { return scene(x, y) + sigma/255*noise[y*filmW+x] }
	switch p := img.(type) {
	case *frame.Planar:
		black, luma, _, _ := p.Scale()
		for y := range filmH {
			for x := range filmW {
				p.SetSample(0, x, y, int(math.Round(black+at(x, y)/luma)))
			}
		}
	case *image.NRGBA:
		for y := range filmH {
			for x := range filmW {
				v := uint8(math.Round(255 * at(x, y)))
				p.SetNRGBA(x, y, color.NRGBA{v, v, v, 255})
			}
		}
	}
	return img
}

// grayOf is a picture's luma, 0 to 1.
func grayOf(t *testing.T, img image.Image) []float32 {
	t.Helper()
	c, err := newCanvas(img)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, filmW*filmH)
	for y := range filmH {
		c.gray(out[y*filmW:][:filmW], 0, y)
	}
	return out
}

// level is the standard deviation of the finest bands of a−b, in steps of 8
// bits, where the mask is above 0.95.
func level(a, b []float32, f *Face) float64 {
	g := new(grainRoom)
	g.resize(filmW, filmH)
	for i := range a {
		g.before[i] = a[i] - b[i]
	}
	e := newEgg(f.Size, f.Landmarks)
	bands := make([]float64, len(a))
	for l := range 2 {
		g.split(g.before, g.detail, 1<<l)
		for i, v := range g.detail {
			bands[i] += float64(v)
		}
	}
	var sum, n float64
	for y := range filmH {
		for x := range filmW {
			u, v := float64(x), float64(y)
			if m := e.at(f.ToCrop[0]*u+f.ToCrop[1]*v+f.ToCrop[2], f.ToCrop[3]*u+f.ToCrop[4]*v+f.ToCrop[5]); m > 0.95 {
				sum += bands[y*filmW+x] * bands[y*filmW+x]
				n++
			}
		}
	}
	return 255 * math.Sqrt(sum/n)
}

func cropOf(t *testing.T, img image.Image, a [6]float64) []float32 {
	t.Helper()
	c, err := align.WarpAffine(img, a, side)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A face that lost its grain has as much of it again as what is around it; one
// that kept it gets none.
func TestGrainIsGivenBack(t *testing.T) {
	clean := make([]float64, filmW*filmH)
	images := func() []image.Image {
		return []image.Image{
			newFrame(0, filmW, filmH, flatNeutral), newFrame(2, filmW, filmH, flatNeutral), newFrame(7, filmW, filmH, flatNeutral),
			image.NewNRGBA(image.Rect(0, 0, filmW, filmH)),
		}
	}
	for _, blur := range []float64{0, 0.7, 1.2} {
		for _, sigma := range []float64{4, 8, 16} {
			for _, width := range []float64{110, 220} {
				a := affine(150, 140, width, 8)
				if width < 220 && sigma != 8 {
					continue
				}
				if blur > 1 && sigma < 8 {
					continue // too coarse for the finest band to tell it from detail
				}
				noise := film(filmW, filmH, blur, 5)
				for k, img := range images() {
					if k > 0 && (width != 220 || blur != 0.7) {
						continue
					}
					was := filmed(images()[k], clean, 0)
					f := Face{Before: cropOf(t, was, a), Size: side, ToCrop: a, Blend: 1}
					f.After = plus(f.Before, ripples)
					ideal := filmed(images()[k], clean, 0)
					mustPaste(t, ideal, f)

					original := grayOf(t, filmed(img, noise, sigma))
					want := level(original, grayOf(t, was), &f)
					f.Before, f.Grain = cropOf(t, img, a), true
					mustPaste(t, img, f)
					got := level(grayOf(t, img), grayOf(t, ideal), &f)
					t.Logf("%T, grains of %g, σ %g, face of %g: %.2f, around %.2f", img, blur, sigma, width, got, want)
					if !(math.Abs(got/want-1) < 0.25) {
						t.Errorf("%T, grains of %g, σ %g, face of %g: level %.2f, around it %.2f", img, blur, sigma, width, got, want)
					}

					filmed(img, noise, sigma)
					f.After = plus(f.Before, ripples)
					mustPaste(t, img, f)
					if got := level(grayOf(t, img), grayOf(t, ideal), &f); got > 1.25*want {
						t.Errorf("%T, grains of %g, σ %g, face of %g: level %.2f though none was lost of %.2f", img, blur, sigma, width, got, want)
					}
				}
			}
		}
	}
}

func flatNeutral(_, _, _ int) float64 { return 128 }

// A picture without grain is pasted as without the option, bit for bit; so is
// one with the slight noise of a good camera.
func TestNoGrainNoNoise(t *testing.T) {
	noise := film(filmW, filmH, 0, 6)
	for _, sigma := range []float64{0, 0.8} {
		for _, i := range []int{0, 2} {
			a := affine(150, 140, 220, 8)
			p := filmed(newFrame(i, filmW, filmH, flatNeutral), noise, sigma).(*frame.Planar)
			q := clone(p)
			f := Face{Before: cropOf(t, p, a), Size: side, ToCrop: a, Blend: 1}
			f.After = plus(cropOf(t, filmed(newFrame(i, filmW, filmH, flatNeutral), noise, 0), a), ripples)
			mustPaste(t, p, f)
			f.Grain = true
			mustPaste(t, q, f)
			if string(p.Pix[0]) != string(q.Pix[0]) {
				t.Errorf("format %s, σ %g: grain was added", formats[i].name, sigma)
			}
		}
	}
}

// Only luma takes grain, only in the mask, and always the same.
func TestGrainStaysInTheMask(t *testing.T) {
	a := affine(150, 140, 200, 8)
	p := filmed(newFrame(0, filmW, filmH, noise(3)), film(filmW, filmH, 0.7, 7), 10).(*frame.Planar)
	old, again := clone(p), clone(p)
	f := Face{Before: cropOf(t, p, a), Size: side, ToCrop: a, Blend: 1, Grain: true}
	f.After = make([]float32, len(f.Before))
	for i := range f.After {
		f.After[i] = 0.5 // all detail lost
	}
	faces := []Face{f, f}
	faces[1].ToCrop = affine(280, 200, 90, -20) // over the picture's edge
	faces[1].Before = cropOf(t, p, faces[1].ToCrop)
	rects := mustPaste(t, p, faces...)
	mustPaste(t, again, faces...)
	for k := range p.Planes() {
		if string(p.Pix[k]) != string(again.Pix[k]) {
			t.Errorf("plane %d differs the second time", k)
		}
	}
	for y := range filmH {
		for x := range filmW {
			in := false
			for i := range faces {
				in = in || covers(&faces[i], p, 0, x, y) && image.Pt(x, y).In(rects[i])
			}
			if !in && p.Sample(0, x, y) != old.Sample(0, x, y) {
				t.Fatalf("(%d, %d) changed outside of the masks", x, y)
			}
		}
	}
}
