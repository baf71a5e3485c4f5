package media

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// fuzzClips are small ones of each demuxer and kind of decoder.
func fuzzClips(t testing.TB) map[string][]byte {
	m := map[string][]byte{}
	for name, args := range map[string]string{
		"f.mp4": x264, "f.mkv": x264, "f.ts": x264, "f.avi": "-c:v mpeg4 -bf 2 -g 6", "f.mpg": "-c:v mpeg2video -bf 2 -g 6", "f.webm": "-c:v libvpx-vp9 -g 6 -deadline realtime -cpu-used 8",
		"f.mov": "-c:v prores", "f.flv": "-c:v flv1 -g 6", "f.nut": "-c:v ffv1", "f.gif": "", "g.mp4": x265 + "1", "g.avi": "-c:v mjpeg", "f.asf": "-c:v wmv2", "f.mxf": "-c:v mpeg2video", "f.ogv": "-c:v libtheora",
	} {
		m[name] = mustRead(t, makeClip(t, name, "-f lavfi -i testsrc2=s=64x48:r=25:d=0.5 "+args))
	}
	return m
}

// tryVideo does with a file all that is done with a video. It may fail, with
// an error that says why, but neither crash nor hang.
func tryVideo(t testing.TB, path string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	fine := func(err error) bool {
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s takes too long", path)
		}
		for _, e := range []error{nil, io.EOF, ErrNotVideo, ErrDamaged, ErrTooLarge, ErrUnsupported} {
			if errors.Is(err, e) {
				return err == nil
			}
		}
		var sys *fs.PathError
		if !errors.As(err, &sys) {
			t.Errorf("%s: %v", path, err)
		}
		return false
	}
	v, err := ProbeVideo(ctx, path)
	if !fine(err) {
		return
	}
	x, err := IndexVideo(ctx, v, nil)
	if !fine(err) {
		return
	}
	x.Segments(v.Stream().TimeBase, time.Second/5, time.Second)
	for _, from := range []int64{NoTime, x.First + (x.End-x.First)/2} {
		r, err := OpenReader(ctx, v, ReadOptions{From: from, To: NoTime, Bwdif: from != NoTime, Direct: x.Direct, Threads: 2})
		if !fine(err) {
			return
		}
		last := NoTime
		for range 20 {
			p, err := r.Next(ctx)
			if !fine(err) {
				break
			}
			if err := p.Check(); err != nil || p.PTS <= last || p.PTS < from {
				t.Errorf("%s: picture at %d after %d, from %d: %v", path, p.PTS, last, from, err)
			}
			sum(p)
			last = p.PTS
			p.Release()
		}
		r.close()
	}
}

// mutate changes some bytes of b, or cuts it, or repeats a part.
func mutate(b []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	b = slices.Clone(b)
	switch seed % 4 {
	case 0: // the header most of all
		for range 1 + r.IntN(6) {
			b[r.IntN(min(len(b), 900))] = byte(r.Uint32())
		}
	case 1:
		for range 1 + r.IntN(40) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
	case 2:
		b = b[:r.IntN(len(b))]
	case 3:
		i, j := r.IntN(len(b)), r.IntN(len(b))
		n := min(len(b)-max(i, j), 1+r.IntN(2000))
		copy(b[i:i+n], slices.Clone(b[j:j+n]))
	}
	return b
}

// Damaged files end in an error or in fewer pictures.
func TestMutatedVideos(t *testing.T) {
	dir := t.TempDir()
	for name, b := range fuzzClips(t) {
		for seed := range uint64(8) {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, mutate(b, seed), 0o644); err != nil {
				t.Fatal(err)
			}
			tryVideo(t, path)
		}
	}
}

func FuzzVideo(f *testing.F) {
	for name, b := range fuzzClips(f) {
		f.Add(filepath.Ext(name), b)
	}
	f.Fuzz(func(t *testing.T, ext string, b []byte) {
		if len(b) > 1<<20 || !IsVideoName("x"+ext) {
			return
		}
		path := filepath.Join(t.TempDir(), "x"+ext)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		tryVideo(t, path)
	})
}
