package align

import (
	"fmt"
	"math"
	"slices"
)

// The measure looks at the middle of the 512-pixel frame, from the eyebrows
// to the chin: 320×384 pixels from (96, 112), which holds little background
// and no edge of the photo.
const (
	measureSide = 512
	measureX    = 96
	measureY    = 112
	measureW    = 320
	measureH    = 384
	bandCount   = 5
	quietBands  = 3
	block       = 8
	featureN    = bandCount + quietBands
)

// Measure says how degraded an aligned face is.
type Measure struct {
	// Octaves is log2 of the downscaling that would have cost as much
	// resolution, 0 (sharp) to 5 (×32).
	Octaves float64
	// Grain is the root mean square of the finest band of the Laplacian
	// pyramid in the quieter parts of the face, in units of full scale: the
	// texture of sharp skin gives up to some 0.012, a face degraded by an
	// octave or more below 0.005; what exceeds that is noise.
	Grain float64
}

// Degradation measures an aligned face: a crop in the ffhq_512 frame, planar
// RGB in [0, 1], of side 512 or a multiple (averaged down to 512). Blur in
// the photo and enlargement by the warp count alike: a face of 64 pixels
// brought to 512 is degraded by three octaves however sharp the photo is.
//
// It is a quadratic regression on eight band energies, fitted by weighted
// ridge regression to 8,736 degradations of 1,456 faces (half the weight on
// photographs, half on generated faces): blur of σ pixels, area reduction by
// b, noise of 0–10/255, JPEG of quality 50–100, back to 512 by bilinear or
// cubic interpolation; in half of them a quarter with grain after the
// enlargement and a tenth each with JPEG quality 15–45 or unsharp masking.
// The target is ½·log2(b² + 4σ²), as reducing by b and interpolating blurs
// by σ ≈ b/2. On 309 other faces: Eq. 13 of the paper alone correlation 0.99,
// rms error 0.23 octaves, 97 % within half an octave; all kinds 0.98, 0.28
// and 92 %. Undegraded faces read 0.2 ± 0.2, 95 % of them below 0.6.
//
// It fails for another size and for values that are no numbers.
func Degradation(crop []float32, size int) (Measure, error) {
	f, err := features(crop, size)
	if err != nil {
		return Measure{}, err
	}
	grain := math.Sqrt(math.Exp2(f[bandCount]))
	for i := range f {
		// Outside of what the fit has seen a parabola proves nothing.
		f[i] = min(max((f[i]-featureMean[i])/featureSpread[i], -3), 3)
	}
	octaves := fitConstant
	for i := range f {
		octaves += fitLinear[i] * f[i]
		for j, c := range fitSquare[i] {
			octaves += c * f[i] * f[i+j]
		}
	}
	return Measure{min(max(octaves, 0), 5), grain}, nil
}

// StepsFor gives the diffusion steps for a face. It is calibrated for
// PLTrans-S 0.3 (0.4 agrees within 0.03 dB): steps help from about ×16 on and cost up to 0.03 dB before.
func StepsFor(octaves float64) int {
	switch {
	case octaves >= 4.25:
		return 8
	case octaves >= 3.5:
		return 4
	}
	return 0
}

// The regression; see Degradation. fitSquare[i][j] belongs to the product of
// the standardised features i and i+j.
const fitConstant = 1.3312

var (
	featureMean   = [featureN]float64{-14.357, -12.859, -11.083, -9.647, -8.855, -16.966, -15.853, -13.726}
	featureSpread = [featureN]float64{2.865, 1.829, 1.143, 0.719, 0.643, 3.492, 1.807, 1.039}
	fitLinear     = [featureN]float64{-1.0636, -1.2165, 0.5488, 0.0958, -0.0536, -0.251, 0.6421, 0.0369}
	fitSquare     = [featureN][]float64{
		{0.5022, -0.2877, -1.06, 0.0207, 0.1529, -0.9612, 0.3259, 0.2552},
		{1.3677, -0.6677, -0.129, 0.0092, -1.2762, -0.2243, -0.1927},
		{0.4987, 0.0442, -0.1734, 1.6675, -0.7137, 0.2522},
		{-0.0764, 0.1575, -0.1148, 0.19, -0.149},
		{-0.044, -0.1737, 0.0766, -0.0025},
		{1.2382, -0.7755, 0.0031},
		{0.67, -0.2541},
		{0.0754},
	}
)

// features are the base-2 logarithms of the mean energies of the five bands
// of the luma's Laplacian pyramid (finest first), then of the lower quartile
// of the energies of 8×8 blocks in the three finest bands: detail is sparse
// on a face, noise is everywhere, so the quartile tells them apart.
func features(crop []float32, size int) (f [featureN]float64, err error) {
	luma, err := measured(crop, size)
	if err != nil {
		return f, err
	}
	w, h := measureW, measureH
	for k := range bandCount {
		small := reduce(luma, w, h)
		expandSubtract(luma, small, w, h)
		energies := blockEnergies(luma, w, h)
		var sum float64
		for _, e := range energies {
			sum += float64(e)
		}
		f[k] = logEnergy(sum / float64(len(energies)))
		if k < quietBands {
			slices.Sort(energies)
			f[bandCount+k] = logEnergy(float64(energies[len(energies)/4]))
		}
		luma, w, h = small, w/2, h/2
	}
	return f, nil
}

// logEnergy is log2 with a floor at a tenth of an 8-bit step.
func logEnergy(e float64) float64 { return math.Log2(e + sq(0.1/255)) }

// measured extracts the Rec. 601 luma of the measured part, averaged down to
// the 512-pixel frame.
func measured(crop []float32, size int) ([]float32, error) {
	if size < measureSide || size > MaxSize || size%measureSide != 0 || len(crop) != 3*size*size {
		return nil, fmt.Errorf("align: degradation of %d values at size %d: a crop of 512 pixels or a multiple is needed", len(crop), size)
	}
	k, n := size/measureSide, size*size
	scale := 1 / float32(k*k)
	luma := make([]float32, measureW*measureH)
	for y := range measureH {
		dst := luma[y*measureW:][:measureW]
		for v := range k {
			at := ((measureY+y)*k+v)*size + measureX*k
			r, g, b := crop[at:], crop[n+at:], crop[2*n+at:]
			r, g, b = r[:measureW*k], g[:measureW*k], b[:measureW*k]
			if k == 1 {
				for x := range dst {
					dst[x] = 0.299*r[x] + 0.587*g[x] + 0.114*b[x]
				}
				continue
			}
			for x := range r {
				dst[x/k] += scale * (0.299*r[x] + 0.587*g[x] + 0.114*b[x])
			}
		}
	}
	for _, v := range luma {
		if !(v > -2 && v < 3) {
			return nil, fmt.Errorf("align: degradation: the crop holds a value that is no number in [0, 1]")
		}
	}
	return luma, nil
}

// reduce halves a picture of even sides by the binomial 1-4-6-4-1 of Burt and
// Adelson, "The Laplacian pyramid as a compact image code", IEEE COM-31(4),
// 1983.
func reduce(p []float32, w, h int) []float32 {
	half := make([]float32, w/2*h)
	for y := range h {
		row, dst := p[y*w:][:w], half[y*w/2:][:w/2]
		last := len(dst) - 1
		dst[0] = (11*row[0] + 4*row[1] + row[2]) / 16
		for x := 1; x < last; x++ {
			s := (*[5]float32)(row[2*x-2:])
			dst[x] = (s[0] + s[4] + 4*(s[1]+s[3]) + 6*s[2]) / 16
		}
		s := row[2*last-2:]
		dst[last] = (s[0] + 4*s[1] + 6*s[2] + 5*s[3]) / 16
	}
	n := w / 2
	out := make([]float32, n*h/2)
	for y := range h / 2 {
		at := func(v int) []float32 { return half[min(max(v, 0), h-1)*n:][:n] }
		a, b, c, d, e := at(2*y-2), at(2*y-1), at(2*y), at(2*y+1), at(2*y+2)
		dst := out[y*n:][:n]
		for x := range dst {
			dst[x] = (a[x] + e[x] + 4*(b[x]+d[x]) + 6*c[x]) / 16
		}
	}
	return out
}

// expandSubtract leaves in p the band: p minus small expanded to its size by
// the same binomial.
func expandSubtract(p, small []float32, w, h int) {
	n := w / 2
	line := make([]float32, n+2)
	for y := range h {
		v := y / 2
		row := func(v int) []float32 { return small[min(max(v, 0), h/2-1)*n:][:n] }
		mid := line[1 : n+1]
		if y%2 == 0 {
			a, b, c := row(v-1), row(v), row(v+1)
			for x := range mid {
				mid[x] = (a[x] + 6*b[x] + c[x]) / 8
			}
		} else {
			a, b := row(v), row(v+1)
			for x := range mid {
				mid[x] = (a[x] + b[x]) / 2
			}
		}
		line[0], line[n+1] = line[1], line[n]
		dst := p[y*w:][:w]
		for x := range n {
			a, b, c := line[x], line[x+1], line[x+2]
			dst[2*x] -= (a + 6*b + c) / 8
			dst[2*x+1] -= (b + c) / 2
		}
	}
}

// blockEnergies gives the mean square of each whole 8×8 block.
func blockEnergies(p []float32, w, h int) []float32 {
	out := make([]float32, 0, (w/block)*(h/block))
	for y := 0; y+block <= h; y += block {
		for x := 0; x+block <= w; x += block {
			var sum float32
			for v := range block {
				s := (*[block]float32)(p[(y+v)*w+x:])
				sum += s[0]*s[0] + s[1]*s[1] + s[2]*s[2] + s[3]*s[3] +
					s[4]*s[4] + s[5]*s[5] + s[6]*s[6] + s[7]*s[7]
			}
			out = append(out, sum/(block*block))
		}
	}
	return out
}
