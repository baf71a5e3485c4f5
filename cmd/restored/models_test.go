package main

import (
	"bytes"
	"image"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"restored/align"
	"restored/detect"
	"restored/restore"
)

// modelServer serves a folder for a script. Below /cut, an answer from the
// beginning ends after half the file.
func modelServer(env *testscript.Env, dir string) string {
	files := http.FileServer(http.Dir(dir))
	mux := http.NewServeMux()
	mux.Handle("/", files)
	mux.HandleFunc("/cut/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			if info, err := os.Stat(filepath.Join(dir, filepath.Base(r.URL.Path))); err == nil {
				w = &halfWriter{w, int(info.Size() / 2)}
			}
		}
		http.StripPrefix("/cut", files).ServeHTTP(w, r)
	})
	s := httptest.NewServer(mux)
	env.Defer(s.Close)
	return s.URL
}

type halfWriter struct {
	http.ResponseWriter
	left int
}

func (w *halfWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		_, _ = w.ResponseWriter.Write(b[:w.left])
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.left -= len(b)
	return w.ResponseWriter.Write(b)
}

// The judge of models finds each way in which a network is fed wrongly.
func TestFaceCheck(t *testing.T) {
	face, err := knownFace()
	if err != nil {
		t.Fatal(err)
	}
	r, err := detect.NewRecognizer(filepath.Join(deps(t), "models"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	other := otherFace(t)
	const n = faceSide * faceSide
	for _, test := range []struct {
		name, template string
		size           int
		change         func(in []float32) []float32
		problem        string // "" = good
	}{
		{"as it is", "ffhq_512", 512, func(in []float32) []float32 { return in }, ""},
		{"a narrow frame", "arcface_128", 256, func(in []float32) []float32 { return in }, ""},
		{"a large frame", "ffhq_512", 1024, func(in []float32) []float32 { return in }, ""},
		{"inverted", "ffhq_512", 512, each(func(v float32) float32 { return 1 - v }), "another picture"},
		{"one colour", "ffhq_512", 512, each(func(float32) float32 { return 0.5 }), "one colour"},
		{"half the range", "ffhq_512", 512, each(func(v float32) float32 { return 0.5 + v/2 }), "wrong range"},
		{"red and blue swapped", "ffhq_512", 512, func(in []float32) []float32 {
			return append(append(append([]float32{}, in[2*n:]...), in[n:2*n]...), in[:n]...)
		}, "red and blue"},
		{"somebody else", "ffhq_512", 512, func([]float32) []float32 { return other }, "somebody else"},
	} {
		t.Run(test.name, func(t *testing.T) {
			toModel, err := frameChange(restore.Spec{Template: test.template, Size: test.size})
			if err != nil {
				t.Fatal(err)
			}
			_, in, err := modelInput(face, toModel, test.size)
			if err != nil {
				t.Fatal(err)
			}
			out := test.change(in)
			c := faceCheck{Size: test.size}
			c.compare(in, out)
			before, after, err := descriptors(r, face, out, toModel, test.size)
			if err != nil {
				t.Fatal(err)
			}
			if after != nil {
				d := detect.Distance(before, *after)
				c.Identity = &d
			}
			c.judge()
			t.Logf("PSNR %.1f, contrast %.2f, shift %.3f, identity %.2f, %q", c.PSNR, c.Contrast, c.Shift, value(c.Identity), c.Problems)
			if all := strings.Join(c.Problems, "; "); c.Good != (test.problem == "") || !strings.Contains(all, test.problem) {
				t.Errorf("good %v, problems %q, want %q", c.Good, c.Problems, test.problem)
			}
		})
	}
}

func each(f func(float32) float32) func([]float32) []float32 {
	return func(in []float32) []float32 {
		out := make([]float32, len(in))
		for i, v := range in {
			out[i] = f(v)
		}
		return out
	}
}

// otherFace is another person's face, aligned.
func otherFace(t *testing.T) []float32 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(deps(t), "samples", "biden.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	d, err := detect.New(detect.Options{Models: filepath.Join(deps(t), "models"), MinFace: 40, MaxPixels: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	photo := shrink(img, 1)
	faces, err := d.Detect(t.Context(), photo)
	if err != nil || len(faces) != 1 {
		t.Fatalf("%d faces, %v", len(faces), err)
	}
	points := make([]align.Point, len(faces[0].Landmarks))
	for i, p := range faces[0].Landmarks {
		points[i] = align.Point(p)
	}
	target, err := align.Template("dlib_ffhq_512", faceSide)
	if err != nil {
		t.Fatal(err)
	}
	m, err := align.Estimate(points, target)
	if err != nil {
		t.Fatal(err)
	}
	out, err := align.Warp(image.Image(photo), m, faceSide)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
