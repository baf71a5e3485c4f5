package detect

import (
	"image"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	face "github.com/Kagami/go-face"
)

// aligned is the face of a sample on the template ffhq_512, roughly: by its
// frame, in which the template's box is known.
func aligned(t testing.TB, name string) []float32 {
	t.Helper()
	img := sample(t, name)
	faces := detect(t, detector(t, Options{}), img)
	if len(faces) == 0 {
		t.Fatalf("%s: no face", name)
	}
	const size = 512
	f := fitFrame(faces[0].Landmarks)
	out := make([]float32, 3*size*size)
	span := alignedBox[2] - alignedBox[0]
	for c := range 3 {
		channel := &plane{pix: make([]uint8, img.Rect.Dx()*img.Rect.Dy()), w: img.Rect.Dx(), h: img.Rect.Dy()}
		for i := range channel.pix {
			channel.pix[i] = img.Pix[4*i+c]
		}
		for y := range size {
			for x := range size {
				p := f.at((float64(x)/size-alignedBox[0])/span, (float64(y)/size-alignedBox[1])/span)
				out[c*size*size+y*size+x] = float32(channel.bilinear(p.X, p.Y)) / 255
			}
		}
	}
	return out
}

// blurred shrinks a face by k and enlarges it again.
func blurred(planar []float32, size, k int) []float32 {
	out := make([]float32, len(planar))
	down, up := axisTaps(size, size/k), axisTaps(size/k, size)
	pass := func(src []float32, w, h int, ts []taps) []float32 { // along x, then transposed
		dst, line := make([]float32, len(ts)*h), make([]float32, len(ts))
		for y := range h {
			filterRow(src[y*w:(y+1)*w], ts, line)
			for x, v := range line {
				dst[x*h+y] = v
			}
		}
		return dst
	}
	n := size * size
	for c := range 3 {
		p := pass(pass(planar[c*n:(c+1)*n], size, size, down), size, size/k, down)
		copy(out[c*n:], pass(pass(p, size/k, size/k, up), size/k, size, up))
	}
	return out
}

func describe(t testing.TB, r *Recognizer, planar []float32, size int) [128]float32 {
	t.Helper()
	d, ok, err := r.Descriptor(planar, size)
	if err != nil || !ok {
		t.Fatalf("descriptor: ok %v, error %v", ok, err)
	}
	return d
}

func TestIdentity(t *testing.T) {
	r, err := NewRecognizer(models(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	obama, again, biden := aligned(t, "obama.jpg"), aligned(t, "obama2.jpg"), aligned(t, "biden.jpg")
	ref := describe(t, r, obama, 512)
	if d := Distance(ref, describe(t, r, obama, 512)); d != 0 {
		t.Errorf("the same picture twice is %v apart", d)
	}
	if d := Distance(ref, describe(t, r, blurred(obama, 512, 2), 512)); d > 0.12 {
		t.Errorf("blurred ×2: %.3f apart", d)
	}
	if d := Distance(ref, describe(t, r, blurred(obama, 512, 8), 512)); d > 0.45 {
		t.Errorf("blurred ×8: %.3f apart", d)
	}
	if d := Distance(ref, describe(t, r, again, 512)); d > 0.6 {
		t.Errorf("one man twice: %.3f apart", d)
	}
	if d := Distance(ref, describe(t, r, biden, 512)); d < 0.6 {
		t.Errorf("two men: %.3f apart", d)
	}

	if _, ok, err := r.Descriptor(make([]float32, 3*512*512), 512); ok || err != nil {
		t.Errorf("no face: ok %v, error %v", ok, err)
	}
	for _, size := range []int{0, 16, 511, 1 << 20} {
		if _, _, err := r.Descriptor(make([]float32, 3*512*512), size); err == nil {
			t.Errorf("size %d for 512² values: no error", size)
		}
	}
	obama[1000] = float32(math.NaN())
	if _, _, err := r.Descriptor(obama, 512); err == nil {
		t.Error("NaN: no error")
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := r.Descriptor(biden, 512); err == nil {
		t.Error("Descriptor after Close: no error")
	}
}

func TestRecognizerBadModels(t *testing.T) {
	for _, broken := range []string{predictorFile, resnetFile, mmodFile} {
		for _, cut := range []bool{false, true} {
			dir := t.TempDir()
			for _, name := range []string{predictorFile, resnetFile, mmodFile} {
				from, to := filepath.Join(models(t), name), filepath.Join(dir, name)
				if name != broken {
					if err := os.Symlink(from, to); err != nil {
						t.Fatal(err)
					}
				} else if cut {
					if err := os.WriteFile(to, make([]byte, 1000), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, err := NewRecognizer(dir)
			want := map[bool]string{false: "no such file", true: "truncated"}[cut]
			if err == nil || !strings.Contains(err.Error(), broken) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, cut %v: error %v", broken, cut, err)
			}
		}
	}
}

func TestFittest(t *testing.T) {
	if f := fittest(nil); f != nil {
		t.Error("a face of none")
	}
	want := image.Rect(48, 82, 203, 238)
	small := image.Rect(0, 0, 60, 60)
	for i, rects := range [][]image.Rectangle{{small, want}, {want, small}} {
		if f := fittest(facesAt(rects)); f == nil || f.Rectangle != want {
			t.Errorf("%d: %v, want %v", i, f, want)
		}
	}
	if f := fittest(facesAt([]image.Rectangle{small})); f != nil {
		t.Errorf("a face off its place is taken: %v", f.Rectangle)
	}
}

func facesAt(rects []image.Rectangle) []face.Face {
	var out []face.Face
	for _, r := range rects {
		out = append(out, face.New(r, face.Descriptor{}))
	}
	return out
}

func BenchmarkIdentity(b *testing.B) {
	r, err := NewRecognizer(models(b))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	planar := aligned(b, "obama.jpg")
	for b.Loop() {
		describe(b, r, planar, 512)
	}
}
