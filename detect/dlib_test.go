package detect

import (
	"image"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func scanner(t testing.TB) *Scanner { return detector(t, Options{}).scanner }

// rgb gives gray pixels as RGB, for which dlib's own code is used.
func rgb(p Pixels) Pixels {
	out := Pixels{Pix: make([]byte, 3*p.Width*p.Height), Stride: 3 * p.Width, Width: p.Width, Height: p.Height, Channels: 3}
	for y := range p.Height {
		for x := range p.Width {
			v := p.Pix[y*p.Stride+x]
			copy(out.Pix[y*out.Stride+3*x:], []byte{v, v, v})
		}
	}
	return out
}

// The gray scan is our own code: it must find what dlib finds, where dlib does.
// The features of one level agree to 2e-7; the scores differ because dlib
// rounds the levels below it differently in gray and in colour.
func TestGrayScanEqualsDlib(t *testing.T) {
	const scoreTolerance = 0.06
	s := scanner(t)
	for _, name := range []string{"obama.jpg", "astronaut.png", "biden.jpg"} {
		img := sample(t, name)
		p := lumaOf(t, img, 517, 517*img.Rect.Dy()/img.Rect.Dx()).pixels()
		for _, upsample := range []bool{false, true} {
			got, err := s.Scan(p, upsample, -0.4)
			if err != nil {
				t.Fatal(err)
			}
			want, err := s.Scan(rgb(p), upsample, -0.4)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) || len(want) == 0 {
				t.Fatalf("%s, upsample %v: %d faces, dlib finds %d", name, upsample, len(got), len(want))
			}
			for i := range want {
				if got[i].Box != want[i].Box || got[i].Filter != want[i].Filter ||
					math.Abs(got[i].Score-want[i].Score) > scoreTolerance {
					t.Errorf("%s, upsample %v: face %d is %+v, dlib says %+v", name, upsample, i, got[i], want[i])
				}
			}
		}
	}
}

func TestScanStride(t *testing.T) {
	s := scanner(t)
	p := lumaOf(t, sample(t, "obama.jpg"), 400, 500).pixels()
	wide := Pixels{Pix: make([]byte, 512*500-100), Stride: 512, Width: 400, Height: 500, Channels: 1}
	for y := range 500 {
		copy(wide.Pix[y*512:], p.Pix[y*400:(y+1)*400])
	}
	a, err := s.Scan(p, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Scan(wide, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(a) != 1 || len(b) != 1 || a[0] != b[0] {
		t.Errorf("a stride changes the result: %v and %v", a, b)
	}
}

func TestBadModels(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(models(t), predictorFile))
	if err != nil {
		t.Fatal(err)
	}
	garbage := make([]byte, len(good))
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"missing", "no such file", nil},
		{"empty", "truncated", []byte{}},
		{"truncated", "truncated", good[:len(good)/2]},
		{"not a model", "fetch it again", garbage},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.data != nil {
				if err := os.WriteFile(filepath.Join(dir, predictorFile), c.data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := New(Options{Models: dir})
			if err == nil || !strings.Contains(err.Error(), predictorFile) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want the file's name and %q", err, c.want)
			}
		})
	}
}

func TestClosed(t *testing.T) {
	s, err := NewScanner(models(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	p := Pixels{Pix: make([]byte, 100), Stride: 10, Width: 10, Height: 10, Channels: 1}
	if _, err := s.Scan(p, false, 0); err == nil {
		t.Error("Scan after Close: no error")
	}
	if _, err := s.Predict(p, image.Rect(0, 0, 9, 9)); err == nil {
		t.Error("Predict after Close: no error")
	}
}

// FuzzGeometry gives raw geometries that don't fit the buffer, or just do.
func FuzzGeometry(f *testing.F) {
	for _, c := range [][]int{
		{100, 10, 10, 10, 1, 0}, {99, 10, 10, 10, 1, 0}, {0, 0, 0, 0, 0, 0}, {300, 30, 10, 10, 3, 0}, {10, -10, 10, 1, 1, 0},
		{1, 1, 1, 1, 1, 1}, {1500, 3, 3, 500, 1, 1}, {1500, 500, 500, 3, 1, 1}, {6400, 80, 80, 80, 1, 0},
		{100, 1 << 40, 10, 1, 1, 0}, {100, 10, 1 << 62, 1, 3, 0}, {100, 10, 10, -1, 1, 0},
	} {
		f.Add(c[0], c[1], c[2], c[3], c[4], c[5] == 1)
	}
	s := scanner(f)
	f.Fuzz(func(t *testing.T, n, stride, width, height, channels int, upsample bool) {
		p := Pixels{Pix: make([]byte, min(max(n, 0), 1<<16)), Stride: stride, Width: width, Height: height, Channels: channels}
		for i := range p.Pix {
			p.Pix[i] = byte(i * i)
		}
		fits := p.check() == nil
		if _, err := s.Scan(p, upsample, 0); (err == nil) != fits {
			t.Errorf("%d bytes as %d×%d×%d, stride %d: error %v", len(p.Pix), width, height, channels, stride, err)
		}
		_, err := s.Predict(p, image.Rect(0, 0, width, height))
		if err == nil && !fits {
			t.Errorf("landmarks in %d bytes as %d×%d×%d, stride %d: no error", len(p.Pix), width, height, channels, stride)
		}
	})
}
