package media

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// joinable is a small video with audio in three segments.
func joinable(t *testing.T) (*Video, Encoding, []string) {
	t.Helper()
	v := clip(t, "a.mp4", "-f lavfi -i testsrc2=s=96x64:r=25:d=1.2 -f lavfi -i sine=d=1.2 -c:v libx264 -pix_fmt yuv420p -c:a aac")
	e, err := ChooseEncoding(v, EncodeOptions{Preset: "ultrafast"})
	if err != nil {
		t.Fatal(err)
	}
	segments, _ := encodeSegments(t, t.Context(), v, e, 10, 1)
	return v, e, segments
}

func TestJoinRefuses(t *testing.T) {
	v, e, segments := joinable(t)
	other := e
	other.Keyint++
	short := filepath.Join(t.TempDir(), "short.nut")
	b, err := os.ReadFile(segments[1])
	if err == nil {
		err = os.WriteFile(short, b[:len(b)*2/3], 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		segments []string
		e        Encoding
		o        JoinOptions
		says     string
	}{
		{"none", nil, e, JoinOptions{}, "no segments"},
		{"absent", []string{segments[0], "/nowhere.nut"}, e, JoinOptions{}, "no such file"},
		{"order", []string{segments[1], segments[0], segments[2]}, e, JoinOptions{}, "begins at"},
		{"twice", []string{segments[0], segments[0]}, e, JoinOptions{}, "begins at"},
		{"encoding", segments, other, JoinOptions{}, "in another way"},
		{"missing", []string{segments[0], segments[2]}, e, JoinOptions{Expect: Index{Frames: 30}}, "have 20 pictures, want 30"},
		{"cut off", []string{segments[0], short, segments[2]}, e, JoinOptions{Expect: Index{Frames: 30}}, "the result differs"},
		{"no segment", []string{v.Path}, e, JoinOptions{}, "2 streams"},
	} {
		dir := t.TempDir()
		out := filepath.Join(dir, "out.mp4")
		_, err := JoinVideo(t.Context(), v, c.e, c.segments, out, c.o)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: leaves %v", c.name, left)
		}
	}
}

func TestJoinOverwrites(t *testing.T) {
	v, e, segments := joinable(t)
	ctx := t.Context()
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := errors.Join(os.Chtimes(v.Path, old, old), os.Chmod(v.Path, 0o640)); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "new", "out.mp4")
	var shares []float64
	o := JoinOptions{Progress: func(s float64) { shares = append(shares, s) }}
	info, err := JoinVideo(ctx, v, e, segments, out, o)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(out)
	if err != nil || st.Size() != info.Bytes || !st.ModTime().Equal(old) || st.Mode().Perm() != 0o640 {
		t.Errorf("%+v, %v of %d bytes, %v", info, st.ModTime(), st.Size(), err)
	}
	if !slices.IsSorted(shares) || len(shares) < 2 || shares[0] < 0 || shares[len(shares)-1] > 1 {
		t.Errorf("progress %v", shares)
	}
	if b, err := os.ReadFile(out); err != nil || strings.Contains(string(b), DigitalSource) {
		t.Errorf("a provenance tag that wasn't asked for: %v", err)
	}
	if _, err := JoinVideo(ctx, v, e, segments, out, JoinOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("over an existing file: %v", err)
	}
	if _, err := JoinVideo(ctx, v, e, segments, out, JoinOptions{Overwrite: true}); err != nil {
		t.Errorf("over an existing file, as asked: %v", err)
	}
	if _, err := JoinVideo(ctx, v, e, segments, v.Path, JoinOptions{Overwrite: true}); !errors.Is(err, ErrExists) {
		t.Errorf("over the original: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	o = JoinOptions{Overwrite: true, Progress: func(s float64) {
		if s > 0 {
			cancel()
		}
	}}
	if _, err := JoinVideo(ended, v, e, segments, out, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(out)); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// What differs in a finished file is found, whatever it is.
func TestVerifyFinds(t *testing.T) {
	v, e, segments := joinable(t)
	ctx := t.Context()
	for _, c := range []struct {
		name string
		harm func(j *joiner, file []byte)
		says string
	}{
		{"nothing", func(*joiner, []byte) {}, ""},
		{"audio", func(j *joiner, b []byte) { j.copied[1].bytes++ }, "stream 1 has"},
		{"audio's bytes", func(j *joiner, b []byte) { j.copied[1].hash = newPacketHash() }, "other bytes"},
		{"audio's times", func(j *joiner, b []byte) { j.copied[1].pts[3] += 2 }, "packet 3 of stream 1"},
		{"a timestamp", func(j *joiner, b []byte) { j.video.times[7]++ }, "picture 7 is shown at"},
		{"a picture", func(j *joiner, b []byte) { j.video.times = j.video.times[1:] }, "30 pictures, want 29"},
		{"the last duration", func(j *joiner, b []byte) { j.video.ending *= 3 }, "the last picture is shown for"},
		{"a seam", func(j *joiner, b []byte) { j.video.seams[1]++ }, "is no keyframe"},
		{"rotation", func(j *joiner, b []byte) { j.v.Stream().Picture.Rotation = 90 }, "turned"},
		{"aspect", func(j *joiner, b []byte) { j.e.SampleAspect = Rational{4, 3} }, "aspect"},
		{"colour", func(j *joiner, b []byte) { j.e.Matrix = "bt709" }, "matrix"},
		{"chapters", func(j *joiner, b []byte) { j.v.Chapters = make([]Chapter, 2) }, "0 chapters, want 2"},
		{"stream", func(j *joiner, b []byte) { j.e.Streams = []int{0, 1, 1} }, "stream 1 isn't there"},
		{"video's bytes", func(j *joiner, b []byte) {
			at := strings.Index(string(b), "mdat")
			copy(b[at+4+900:], make([]byte, 600))
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := openInput(ctx, v.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			video, enc := *v, e
			picture := *v.Stream().Picture
			video.Streams = slices.Clone(v.Streams)
			video.Stream().Picture = &picture
			j := &joiner{v: &video, e: &enc, o: &JoinOptions{}, in: in}
			defer j.Close()
			tmp := filepath.Join(t.TempDir(), "tmp")
			if err := errors.Join(j.openSegments(ctx, segments), os.WriteFile(tmp, nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			if err := j.write(ctx, tmp); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(tmp)
			if err != nil {
				t.Fatal(err)
			}
			c.harm(j, b)
			if err := os.WriteFile(tmp, b, 0o644); err != nil {
				t.Fatal(err)
			}
			err = j.verify(ctx, tmp)
			switch {
			case c.name == "nothing" && err != nil:
				t.Error(err)
			case c.name != "nothing" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// A source that ends in the middle of its audio gives what is there.
func TestJoinLeavesNothingOpen(t *testing.T) {
	v, e, segments := joinable(t)
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal("no /proc")
		}
		return len(fds)
	}
	join := func() {
		if _, err := JoinVideo(t.Context(), v, e, segments, filepath.Join(t.TempDir(), "out.mp4"), JoinOptions{Provenance: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := JoinVideo(t.Context(), v, e, segments[1:], filepath.Join(t.TempDir(), "out.mp4"), JoinOptions{Expect: Index{Frames: 1}}); err == nil {
			t.Fatal("joined what doesn't fit")
		}
	}
	join()
	before := count()
	for range 5 {
		join()
	}
	if after := count(); after > before {
		t.Errorf("%d files open, %d before", after, before)
	}
}
