package restore

import (
	"image"
	"image/draw"
	_ "image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// portrait is the 512×512 photo of the fetched samples as planar RGB.
func portrait(t *testing.T) []float32 {
	t.Helper()
	f, err := os.Open(filepath.Join(deps(), "samples", "astronaut.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	const n = 512 * 512
	rgba := image.NewNRGBA(image.Rect(0, 0, 512, 512))
	draw.Draw(rgba, rgba.Rect, img, image.Point{}, draw.Src)
	out := make([]float32, 3*n)
	for i := range n {
		for c := range 3 {
			out[c*n+i] = float32(rgba.Pix[4*i+c]) / 255
		}
	}
	return out
}

func openDefault(t *testing.T) *Session {
	t.Helper()
	return open(t, DefaultModel)
}

func TestEmbeddedModelsCarryTheirSpecs(t *testing.T) {
	for name, data := range map[string][]byte{DefaultModel: defaultModel, SmallModel: smallModel} {
		if size := len(data); size > 25e6 {
			t.Errorf("%s has %d bytes, at most 25 MB are allowed", name, size)
		}
		spec := open(t, name).Spec()
		want := Families[0]
		if spec.Family != "pltrans" || spec.Name != name || spec.Size != want.Size || spec.Template != want.Template ||
			spec.Range != want.Range || spec.ImageInput != want.ImageInput || spec.Output != want.Output || spec.Licence == "" {
			t.Errorf("Spec of %s: %+v", name, spec)
		}
	}
}

// The model in int8 must give what the float one gives, far closer than either
// is to its input.
func TestSmallModelGivesTheDefaultOnesFace(t *testing.T) {
	face := blurred(portrait(t))
	var out [2][]float32
	for i, name := range []string{DefaultModel, SmallModel} {
		faces, err := open(t, name).Restore(t.Context(), []Face{{Image: face, Steps: 4, Seed: 1}})
		if err != nil {
			t.Fatal(err)
		}
		out[i] = faces[0]
	}
	change, loss := psnr(out[0], face), psnr(out[1], out[0])
	if loss < 40 || loss < change+6 {
		t.Errorf("int8 is %.1f dB from float, want 40 or more; float is %.1f dB from its input", loss, change)
	}
}

// blurred is a face smoothed by the mean of 5×5 pixels, three times.
func blurred(face []float32) []float32 {
	const n = 512
	for range 3 {
		out := make([]float32, len(face))
		for c := range 3 {
			for y := range n {
				for x := range n {
					var sum float32
					for v := -2; v <= 2; v++ {
						for u := -2; u <= 2; u++ {
							sum += face[c*n*n+min(max(y+v, 0), n-1)*n+min(max(x+u, 0), n-1)]
						}
					}
					out[c*n*n+y*n+x] = sum / 25
				}
			}
		}
		face = out
	}
	return face
}

func psnr(a, b []float32) float64 {
	var sum float64
	for k := range a {
		d := float64(a[k] - b[k])
		sum += d * d
	}
	return -10 * math.Log10(sum/float64(len(a)))
}

func TestDefaultModelIsAFunctionOfImageSeedAndSteps(t *testing.T) {
	s := openDefault(t)
	face := portrait(t)
	run := func(steps int, seed uint64) []float32 {
		out, err := s.Restore(t.Context(), []Face{{Image: face, Steps: steps, Seed: seed}})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	if !slices.Equal(run(4, 1), run(4, 1)) {
		t.Error("two runs on the same face differ")
	}
	if slices.Equal(run(0, 1), run(8, 1)) {
		t.Error("0 and 8 steps give the same face: the diffusion doesn't reach the output")
	}
}

// A model must do no harm: the clear portrait comes out as itself, and a
// black-and-white one stays black-and-white.
func TestDefaultModelDoesNoHarm(t *testing.T) {
	s := openDefault(t)
	colour := portrait(t)
	const n = 512 * 512
	grey := make([]float32, 3*n)
	for i := range n {
		y := 0.299*colour[i] + 0.587*colour[n+i] + 0.114*colour[2*n+i]
		grey[i], grey[n+i], grey[2*n+i] = y, y, y
	}
	out, err := s.Restore(t.Context(), []Face{{Image: colour}, {Image: grey}})
	if err != nil {
		t.Fatal(err)
	}
	for i, in := range [][]float32{colour, grey} {
		if got := psnr(in, out[i]); got < 30 {
			t.Errorf("face %d comes back at %.1f dB from itself, want at least 30", i, got)
		}
	}
	var chroma float64
	for i := range n {
		r, g, b := float64(out[1][i]), float64(out[1][n+i]), float64(out[1][2*n+i])
		chroma += math.Abs(r-g) + math.Abs(b-g)
	}
	if mean := chroma / (2 * n); mean > 0.01 {
		t.Errorf("a neutral face comes out with mean chroma %.4f, want at most 0.01", mean)
	}
}
