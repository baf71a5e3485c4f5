package media

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ffmpeg runs the command line, for clips and for a second opinion.
func ffmpeg(t testing.TB, args string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "ffmpeg", append([]string{"-hide_banner", "-nostdin", "-loglevel", "error", "-y"}, strings.Fields(args)...)...)
	c.Dir = t.TempDir()
	b, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", args, err, b)
	}
	return string(b)
}

// ffprobe is what it prints of a file, in lines.
func ffprobe(t testing.TB, path, args string) []string {
	t.Helper()
	b, err := exec.CommandContext(t.Context(), "ffprobe", append(append([]string{"-hide_banner", "-loglevel", "error"}, strings.Fields(args)...), path)...).Output()
	if err != nil {
		t.Fatalf("ffprobe %s %s: %v", args, path, err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// rewritten is what a test video became.
type rewritten struct {
	src, out string
	v        *Video
	e        Encoding
	info     JoinInfo
	pts      []int64
}

// rewrite encodes a video in segments of n pictures and joins them.
func rewrite(t testing.TB, src string, n int, eo EncodeOptions) rewritten {
	t.Helper()
	ctx := t.Context()
	v, err := ProbeVideo(ctx, src)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ChooseEncoding(v, eo)
	if err != nil {
		t.Fatal(err)
	}
	segments, pts := encodeSegments(t, ctx, v, e, n, 2)
	o := JoinOptions{Provenance: true, Expect: Index{Frames: int64(len(pts))}}
	out := filepath.Join(t.TempDir(), "out"+filepath.Ext(src))
	info, err := JoinVideo(ctx, v, e, segments, out, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(e.Notes, "\n"))
	}
	return rewritten{src, info.Path, v, e, info, pts}
}

// encodeSegments writes v in segments of n pictures and tells their timestamps.
func encodeSegments(t testing.TB, ctx context.Context, v *Video, e Encoding, n, threads int) (segments []string, pts []int64) {
	t.Helper()
	r, err := OpenReader(ctx, v, ReadOptions{From: NoTime, To: NoTime, Threads: 1, Bwdif: e.Deinterlaced})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dir := t.TempDir()
	var w *SegmentWriter
	finish := func() {
		if w != nil {
			if err := w.Finish(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for {
		p, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(pts)%n == 0 {
			finish()
			segments = append(segments, filepath.Join(dir, "segment-"+string(rune('a'+len(segments)))+".nut"))
			if w, err = CreateSegment(segments[len(segments)-1], v, e, threads); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Abort)
		}
		if err := w.Write(ctx, p); err != nil {
			t.Fatal(err)
		}
		pts = append(pts, p.PTS)
		p.Release()
	}
	finish()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(segments) {
		t.Fatalf("%d files of %d segments: %v", len(entries), len(segments), err)
	}
	return segments, pts
}
