package media

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clip makes a small H.264 video.
func clip(t testing.TB, name, args string) *Video {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	ffmpeg(t, args+" "+path)
	v, err := ProbeVideo(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const shortVideo = "-f lavfi -i testsrc2=s=96x64:r=25:d=0.6 -c:v libx264 -pix_fmt yuv420p"

func TestChooseEncoding(t *testing.T) {
	v := clip(t, "a.mp4", shortVideo)
	for _, c := range []struct {
		o     EncodeOptions
		codec string // "": an error
		muxer string
		says  string // in a note or the error
	}{
		{o: EncodeOptions{}, codec: "h264", muxer: "mp4"},
		{o: EncodeOptions{Encoder: "auto", Quality: 23, Preset: "veryfast"}, codec: "h264", muxer: "mp4"},
		{o: EncodeOptions{Encoder: "libx265"}, codec: "hevc", muxer: "mp4", says: "h264 becomes hevc (libx265)"},
		{o: EncodeOptions{Encoder: "libsvtav1"}, codec: "av1", muxer: "mp4", says: "becomes av1"},
		{o: EncodeOptions{Encoder: "ffv1"}, codec: "ffv1", muxer: "matroska", says: "the container becomes matroska"},
		{o: EncodeOptions{Encoder: "libx264", Preset: "fastest"}, says: "libx264 doesn't work here"},
		{o: EncodeOptions{Encoder: "nosuch"}, says: `unknown encoder "nosuch"; known: auto, av1_nvenc,`},
		{o: EncodeOptions{Encoder: "av1_nvenc"}, says: "av1_nvenc isn't in this FFmpeg"},
	} {
		e, err := ChooseEncoding(v, c.o)
		if c.codec == "" {
			if err == nil || !strings.Contains(err.Error(), c.says) || !errors.Is(err, ErrUnsupported) {
				t.Errorf("%+v: %v, want %q", c.o, err, c.says)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c.o, err)
			continue
		}
		if e.Codec != c.codec || e.Muxer != c.muxer || !strings.Contains(strings.Join(e.Notes, "\n"), c.says) {
			t.Errorf("%+v: %s in %s, %q", c.o, e.Codec, e.Muxer, e.Notes)
		}
		b, err := json.Marshal(e)
		var again Encoding
		if err == nil {
			err = json.Unmarshal(b, &again)
		}
		if err != nil || again.sum() != e.sum() {
			t.Errorf("%s: another encoding after JSON: %v", b, err)
		}
	}
	turned := clip(t, "t.mp4", "-i "+v.Path+" -c copy -metadata:s:v rotate=180")
	if e, err := ChooseEncoding(turned, EncodeOptions{Encoder: "ffv1"}); err != nil || e.Muxer != muxMOV || e.OutputPath("t.mp4") != "t.mp4.mov" {
		t.Errorf("a turned video without its turn: %+v, %v", e, err)
	}
	// Without its device an encoder of a GPU is refused, and with it it works.
	for _, name := range []string{"h264_nvenc", "hevc_vaapi", "h264_qsv"} {
		if _, err := ChooseEncoding(v, EncodeOptions{Encoder: name}); err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutputPath(t *testing.T) {
	for _, c := range []struct {
		e         Encoding
		in, wants string
	}{
		{Encoding{Muxer: muxMP4, Extension: ".mp4", Kept: true}, "d/a.mp4", "d/a.mp4"},
		{Encoding{Muxer: muxMP4, Extension: ".mp4", Kept: true}, "d/a.MP4", "d/a.MP4"},
		{Encoding{Muxer: muxMP4, Extension: ".m4v", Kept: true}, "d/a.m4v", "d/a.m4v"},
		{Encoding{Muxer: muxTS, Extension: ".dat", Kept: true}, "d/a.dat", "d/a.dat"},
		{Encoding{Muxer: muxMatroska, Extension: ".mkv"}, "d/a.avi", "d/a.avi.mkv"},
		{Encoding{Muxer: muxMatroska, Extension: ".mkv"}, "d/a.mkv", "d/a.mkv"},
	} {
		if got := c.e.OutputPath(c.in); got != c.wants {
			t.Errorf("%s: %s, want %s", c.in, got, c.wants)
		}
	}
}

// Each encoder writes the same bytes whatever the number of threads it is
// given here, and NUT gives every picture back at its time.
func TestSegmentsAreTheSame(t *testing.T) {
	for _, c := range []struct{ encoder, format string }{
		{"libx264", "yuv420p"}, {"libx264", "yuv422p10le"}, {"libx265", "yuv420p10le"}, {"libsvtav1", "yuv420p"},
		{"libvpx-vp9", "yuv420p"}, {"ffv1", "yuv444p10le"}, {"libaom-av1", "yuv444p"},
	} {
		t.Run(c.encoder+" "+c.format, func(t *testing.T) {
			v := clip(t, "a.mkv", "-f lavfi -i testsrc2=s=96x80:r=25:d=0.8 -c:v ffv1 -pix_fmt "+c.format)
			e, err := ChooseEncoding(v, EncodeOptions{Encoder: c.encoder, Preset: map[string]string{"libaom-av1": "8"}[c.encoder]})
			if err != nil {
				t.Fatal(err)
			}
			if e.PixelFormat != c.format {
				t.Errorf("encoded as %s", e.PixelFormat)
			}
			var first []byte
			for i, threads := range []int{1, 1, 3} {
				segments, pts := encodeSegments(t, t.Context(), v, e, 100, threads)
				b, err := os.ReadFile(segments[0])
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					first = b
					r, err := openSegmentReader(t.Context(), segments, &e, v.Stream())
					if err != nil {
						t.Fatal(err)
					}
					defer r.Close()
					for range pts {
						if p, err := r.peek(t.Context()); p == nil || err != nil {
							t.Fatal(p, err)
						}
						r.drop()
					}
					if p, err := r.peek(t.Context()); p != nil || err != nil {
						t.Error("more packets than pictures:", err)
					}
					for k, p := range r.times {
						if p != pts[k] {
							t.Errorf("picture %d at %d, want %d", k, p, pts[k])
						}
					}
					if name := r.par.CodecID().Name(); name != e.Codec {
						t.Errorf("NUT holds %s", name)
					}
				} else if string(b) != string(first) {
					t.Errorf("%d threads: other bytes", threads)
				}
			}
		})
	}
}

func TestSegmentWriterRefuses(t *testing.T) {
	ctx := t.Context()
	v := clip(t, "a.mp4", shortVideo)
	e, err := ChooseEncoding(v, EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "segment.nut")
	r, err := OpenReader(ctx, v, ReadOptions{From: NoTime, To: NoTime})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, encoder := range []string{"libx264", "libsvtav1"} { // libsvtav1 can't be freed unused
		e, err := ChooseEncoding(v, EncodeOptions{Encoder: encoder})
		if err != nil {
			t.Fatal(err)
		}
		w, err := CreateSegment(path, v, e, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Finish(ctx); err == nil {
			t.Error("finished without a picture")
		}
		if w, err = CreateSegment(path, v, e, 1); err != nil {
			t.Fatal(err)
		}
		w.Abort()
		w.Abort()
	}
	w, err := CreateSegment(path, v, e, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(ctx, p); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(ctx, p); err == nil {
		t.Error("the same picture twice")
	}
	p.Release()
	if err := w.Write(ctx, p); err == nil || !strings.Contains(err.Error(), "released") {
		t.Errorf("a released picture: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || !isTemp(left[0].Name()) {
		t.Errorf("while it is written: %v", left)
	}
	w.Abort()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("after an abort: %v", left)
	}
	if err := w.Write(ctx, p); err == nil {
		t.Error("written after the end")
	}
}

// libx264 with AVX-512 gave other bytes in one run of ten; what Encoding.open does
// about it holds.
func TestX264IsRepeatable(t *testing.T) {
	v := clip(t, "a.mkv", "-f lavfi -i testsrc2=s=320x320:r=15:d=0.7 -vf noise=alls=6:allf=t -c:v ffv1 -pix_fmt yuv420p")
	e, err := ChooseEncoding(v, EncodeOptions{Encoder: "libx264"})
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for i := range 30 {
		segments, _ := encodeSegments(t, t.Context(), v, e, 100, 1)
		b, err := os.ReadFile(segments[0])
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if string(b) != string(first) {
			t.Fatalf("run %d gave other bytes", i)
		}
	}
}
