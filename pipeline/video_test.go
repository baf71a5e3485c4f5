package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// panned is a filter that makes a moving, softened portrait of the sample
// photo: 2 s of 320×320 whose face lacks about an octave and a half.
const panned = "scale=420:-2,gblur=1.6,crop=320:320:x='40+12*sin(t*2)':y='8+6*cos(t*3)'"

// clip makes a video of a sample photo by FFmpeg's command line: filters, then options of the output.
func clip(t *testing.T, name, filters string, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	args := []string{"-v", "error", "-y", "-loop", "1", "-framerate", "15", "-i", filepath.Join(deps, "samples", "obama.jpg"),
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "2", "-vf", filters, "-map", "0:v", "-map", "1:a", "-shortest"}
	if len(options) == 0 {
		options = []string{"-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-g", "10", "-pix_fmt", "yuv420p", "-c:a", "aac"}
	}
	out, err := exec.Command("ffmpeg", append(append(args, options...), path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return path
}

// turned is a copy that players turn by 90 degrees, against the clock; FFmpeg sets that only where it copies.
func turned(t *testing.T, in string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "turned.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error", "-i", in, "-c", "copy", "-metadata:s:v:0", "rotate=90", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return path
}

// timestamps are those of the pictures of a video, in seconds, as ffprobe sees them.
func timestamps(t *testing.T, path string) []string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "V:0", "-show_entries", "frame=best_effort_timestamp_time",
		"-of", "csv=p=0", path).Output()
	if err != nil {
		t.Fatalf("ffprobe %s: %v", path, err)
	}
	return strings.Fields(strings.ReplaceAll(string(out), ",", ""))
}

// pixels is a hash of all pictures of a video.
func pixels(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-map", "0:V:0", "-f", "framemd5", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg %s: %v", path, err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(out))
}

func shortSegments() Options {
	o := options()
	o.Video = VideoOptions{Every: 8, Segment: 700 * time.Millisecond, Grain: true, CopyNoFace: true}
	return o
}

func silent(VideoProgress) {}

// whole does all steps of a video, one after the other.
func whole(ctx context.Context, e *Engine, in, out, work string, claim Claim, tell Tell) (Report, error) {
	p, err := e.PlanVideo(ctx, in, work, tell)
	if err != nil {
		return Report{}, err
	}
	for _, pass := range []func(context.Context, string, string, int, bool, Tell) error{e.AnalyseSegment, e.RenderSegment} {
		for i := range p.Segments {
			if err := pass(ctx, in, work, i, false, tell); err != nil {
				return Report{}, err
			}
		}
	}
	return e.JoinVideo(ctx, in, out, work, claim, tell)
}

func TestVideo(t *testing.T) {
	e := engine(t, shortSegments())
	in := clip(t, "in.mp4", panned)
	out, work := filepath.Join(t.TempDir(), "out.mp4"), t.TempDir()
	var last VideoProgress
	r, err := whole(t.Context(), e, in, out, work, fresh, func(p VideoProgress) {
		if p.Frames > p.Total || p.Pass == last.Pass && p.Frames < last.Frames {
			t.Errorf("progress %+v after %+v", p, last)
		}
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != Restored || r.Output != out || r.Video == nil {
		t.Fatalf("report %+v", r)
	}
	if len(r.Video.Tracks) != 1 || r.Video.Tracks[0].Decision != FaceRestored || r.Video.Tracks[0].Frames != 30 {
		t.Fatalf("tracks %+v, want one of 30 pictures that is restored", r.Video.Tracks)
	}
	if r.Video.Segments < 2 || r.Video.Frames != 30 {
		t.Errorf("%d segments, %d pictures; want 2 or more, and 30", r.Video.Segments, r.Video.Frames)
	}
	if got, want := timestamps(t, out), timestamps(t, in); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("timestamps %v\nwant %v", got, want)
	}
	c, err := e.CompareVideos(t.Context(), in, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v, flicker ratio %.2f", c, c.Ratio())
	if c.Frames != 30 || c.Faces < 27 {
		t.Errorf("compared %d pictures and %d faces, want 30 and nearly as many", c.Frames, c.Faces)
	}
	if c.Outside < 40 {
		t.Errorf("PSNR outside the face %.1f dB, want 40", c.Outside)
	}
	if c.Ratio() > 1.5 {
		t.Errorf("the face flickers %.2f times as much as before", c.Ratio())
	}
	if pixels(t, in) == pixels(t, out) {
		t.Error("nothing has changed")
	}
}

// A run that is interrupted anywhere goes on with the segments that are missing,
// and gives the same file as one that wasn't.
func TestVideoGoesOn(t *testing.T) {
	e := engine(t, shortSegments())
	in := clip(t, "in.mp4", panned)
	dir := t.TempDir()
	undisturbed := filepath.Join(dir, "whole.mp4")
	if _, err := whole(t.Context(), e, in, undisturbed, filepath.Join(dir, "w1"), fresh, silent); err != nil {
		t.Fatal(err)
	}
	out, work := filepath.Join(dir, "out.mp4"), filepath.Join(dir, "w2")
	for _, stop := range []struct {
		pass  string
		after int // pictures over all, in this try
	}{{"analyse", 15}, {"render", 13}, {"join", 1}} {
		ctx, cancel := context.WithCancel(t.Context())
		done := 0
		_, err := whole(ctx, e, in, out, work, fresh, func(p VideoProgress) {
			if p.Pass != stop.pass {
				return
			}
			if done++; done == stop.after {
				cancel()
			}
		})
		cancel()
		if stop.pass != "join" && !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted in pass %s: %v", stop.pass, err)
		}
		if _, err := os.Stat(out); err == nil && stop.pass != "join" {
			t.Fatal("an output appeared before its time")
		}
	}
	rendered := 0
	if _, err := whole(t.Context(), e, in, out, work, func(context.Context, string) (bool, error) { return true, nil }, func(p VideoProgress) {
		if p.Pass == "render" {
			rendered++
		}
	}); err != nil {
		t.Fatal(err)
	}
	if rendered > 0 {
		t.Errorf("%d pictures were restored again after all segments were done", rendered)
	}
	a, err := os.ReadFile(undisturbed)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) && pixels(t, undisturbed) != pixels(t, out) {
		t.Error("the interrupted run's result differs from the other's")
	}
}

func TestVideoWithoutAFace(t *testing.T) {
	e := engine(t, shortSegments())
	in := clip(t, "in.mkv", "crop=iw/3:ih/6:0:0,scale=320:240")
	out := filepath.Join(t.TempDir(), "out.mkv")
	r, err := whole(t.Context(), e, in, out, t.TempDir(), fresh, silent)
	if err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != Copied || !bytes.Equal(a, b) {
		t.Errorf("status %s, equal %t; want a byte-identical copy", r.Status, bytes.Equal(a, b))
	}
}

// The face is found and restored however the pictures are stored.
func TestVideoFormats(t *testing.T) {
	x264 := []string{"-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-c:a", "aac"}
	for _, c := range []struct {
		name, file, filters string
		options             []string
	}{
		{"turned by the player", "a.mp4", panned + ",transpose=clock", x264},
		{"anamorphic", "a.mp4", panned + ",scale=240:320,setsar=4/3", x264},
		{"10 bits", "a.mkv", panned + ",format=yuv420p10le", []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-c:a", "aac"}},
		{"4:2:2", "a.mkv", panned + ",format=yuv422p", x264},
		{"black and white", "a.mkv", panned + ",format=gray", []string{"-c:v", "ffv1", "-c:a", "flac"}},
		{"interlaced", "a.mpg", panned + ",interlace", []string{"-c:v", "mpeg2video", "-q:v", "2", "-r", "25", "-flags", "+ilme+ildct", "-c:a", "mp2"}},
		{"film grain", "a.mp4", panned + ",noise=alls=18:allf=t", x264},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := engine(t, shortSegments())
			in := clip(t, c.file, c.filters, c.options...)
			if strings.Contains(c.filters, "transpose") {
				in = turned(t, in)
			}
			out := filepath.Join(t.TempDir(), "out"+filepath.Ext(c.file))
			r, err := whole(t.Context(), e, in, out, t.TempDir(), fresh, silent)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(r.Video.Tracks)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Video.Tracks) != 1 || r.Video.Tracks[0].Decision != FaceRestored {
				t.Fatalf("want one track that is restored: %s", text)
			}
			if got, want := len(timestamps(t, r.Output)), len(timestamps(t, in)); got != want {
				t.Errorf("%d pictures, the original has %d", got, want)
			}
		})
	}
}

// A file that was replaced while it was worked on is not mixed with its successor.
func TestVideoReplaced(t *testing.T) {
	e := engine(t, shortSegments())
	in, work := clip(t, "in.mp4", panned), t.TempDir()
	if _, err := e.PlanVideo(t.Context(), in, work, silent); err != nil {
		t.Fatal(err)
	}
	if err := e.AnalyseSegment(t.Context(), in, work, 0, false, silent); err != nil {
		t.Fatal(err)
	}
	other := clip(t, "in.mp4", panned+",hflip")
	data, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.AnalyseSegment(t.Context(), in, work, 1, false, silent); !errors.Is(err, ErrChanged) {
		t.Errorf("a segment of a replaced file: %v, want ErrChanged", err)
	}
	if _, err := e.PlanVideo(t.Context(), in, work, silent); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(analysisPath(work, 0)); err == nil {
		t.Error("the new plan kept the old file's analysis")
	}
}
