package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The pictures and timestamps of a video are those that ffprobe and ffmpeg
// tell, and the same whether it is read in one go, by one thread, in parts that
// begin anywhere, or in those of Segments.
func TestReadInParts(t *testing.T) {
	for _, c := range testClips {
		t.Run(c.name, func(t *testing.T) { readInParts(t, c.make(t)) })
	}
}

func readInParts(t *testing.T, path string) {
	v := mustProbe(t, path)
	x := mustIndex(t, v)
	for _, bwdif := range []bool{false, true} {
		o := ReadOptions{From: NoTime, To: NoTime, Bwdif: bwdif}
		whole, n := readAll(t, v, o)
		if n.Corrupt != 0 || n.Truncated != "" || n.Pictures != int64(len(whole)) {
			t.Errorf("counts are %+v", n)
		}
		if x.Frames != n.Pictures {
			t.Errorf("the index has %d pictures, the video %d", x.Frames, n.Pictures)
		}
		last := whole[len(whole)-1]
		if x.First != whole[0].pts || x.End != last.pts+last.duration || x.Truncated != "" {
			t.Errorf("the index goes from %d to %d (%s), the video from %d to %d", x.First, x.End, x.Truncated, whole[0].pts, last.pts+last.duration)
		}
		if !bwdif {
			likeFFprobe(t, path, whole)
		}
		o.Threads = 1
		if one, _ := readAll(t, v, o); !slices.Equal(one, whole) {
			t.Errorf("bwdif %v: one thread reads other pictures", bwdif)
		}
		spans := [][2]int64{{NoTime, whole[2].pts}}
		for i := 2; i < len(whole); i += 7 {
			to := NoTime
			if i+7 < len(whole) {
				to = whole[i+7].pts + int64(i%2) // also between two pictures
			}
			spans = append(spans, [2]int64{spans[len(spans)-1][1], to})
		}
		for _, direct := range []bool{false, x.Direct} {
			sameParts(t, v, whole, spans, ReadOptions{Bwdif: bwdif, Direct: direct})
		}
		cuts := x.Segments(v.Stream().TimeBase, time.Second, time.Minute)
		sameParts(t, v, whole, cuts, ReadOptions{Bwdif: bwdif, Direct: x.Direct})
	}
}

func sameParts(t *testing.T, v *Video, whole []shot, spans [][2]int64, o ReadOptions) {
	t.Helper()
	var parts []shot
	for _, s := range spans {
		o.From, o.To = s[0], s[1]
		p, n := readAll(t, v, o)
		if n.Corrupt != 0 {
			t.Errorf("%+v: counts are %+v", o, n)
		}
		parts = append(parts, p...)
	}
	if len(parts) != len(whole) {
		t.Errorf("%+v: %d pictures in parts, %d in the whole", o, len(parts), len(whole))
		return
	}
	for i := range whole {
		if parts[i] != whole[i] {
			t.Errorf("%+v: picture %d is %d+%d %x in parts, %d+%d %x in the whole", o, i,
				parts[i].pts, parts[i].duration, parts[i].sum[:4], whole[i].pts, whole[i].duration, whole[i].sum[:4])
			return
		}
	}
}

// likeFFprobe compares the number of pictures, and those timestamps that ffprobe knows.
func likeFFprobe(t *testing.T, path string, s []shot) {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp", "-of", "default=nk=1:nw=1", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(out))
	if len(want) != len(s) {
		t.Fatalf("%d pictures, ffprobe has %d", len(s), len(want))
	}
	for i, w := range want {
		if w != "N/A" && w != fmt.Sprint(s[i].pts) {
			t.Fatalf("picture %d is at %d, for ffprobe at %s", i, s[i].pts, w)
		}
	}
}

// A planar format's pixels are those of ffmpeg, whatever the row's padding.
func TestPixels(t *testing.T) {
	for _, format := range []string{"yuv420p", "yuv422p10le", "yuv444p", "gray", "gray12le", "yuv420p16le"} {
		t.Run(format, func(t *testing.T) {
			path := makeClip(t, format+".mkv", "-f lavfi -i testsrc2=s=130x98:r=25:d=0.2 -pix_fmt "+format+" -c:v ffv1")
			raw, err := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", path, "-pix_fmt", format, "-f", "rawvideo", "-").Output()
			if err != nil {
				t.Fatal(err)
			}
			r, err := OpenReader(t.Context(), mustProbe(t, path), ReadOptions{From: NoTime, To: NoTime})
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			if len(r.Notes()) > 0 {
				t.Errorf("notes %q", r.Notes())
			}
			var ours []byte
			for {
				p, err := r.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				for i := range p.Planes() {
					w, h := p.PlaneSize(i)
					for y := range h {
						ours = append(ours, p.Pix[i][y*p.Stride[i]:][:w*p.Bytes()]...)
					}
				}
				p.Release()
			}
			if !slices.Equal(ours, raw) {
				t.Errorf("%d bytes of pixels differ from ffmpeg's %d", len(ours), len(raw))
			}
		})
	}
}

// A picture that is changed doesn't change those that are decoded from it, and
// one that is held outlives its reader.
func TestWritableAndHeld(t *testing.T) {
	v := mustProbe(t, testClips[0].make(t))
	want, _ := readAll(t, v, ReadOptions{From: NoTime, To: NoTime})
	r, err := OpenReader(t.Context(), v, ReadOptions{From: NoTime, To: NoTime})
	if err != nil {
		t.Fatal(err)
	}
	var held []*Picture
	for i := range want {
		p, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if sum(p) != want[i].sum {
			t.Fatalf("picture %d isn't what it was without changes to others", i)
		}
		if i%3 == 0 {
			if err := p.Writable(); err != nil {
				t.Fatal(err)
			}
			if sum(p) != want[i].sum {
				t.Fatalf("picture %d isn't the same when it is writable", i)
			}
			for plane := range p.Pix {
				clear(p.Pix[plane])
			}
			p.Release()
			p.Release()
			if err := p.Writable(); err == nil {
				t.Fatal("a released picture is writable")
			}
		} else {
			held = append(held, p)
		}
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Next(t.Context()); err == nil {
		t.Error("a closed reader gives pictures")
	}
	for _, p := range held {
		if i := slices.IndexFunc(want, func(s shot) bool { return s.pts == p.PTS }); sum(p) != want[i].sum {
			t.Errorf("picture %d changed after Close", i)
		}
		p.Release()
	}
}

// What changes size or pixel format in its middle is scaled to what it began as.
func TestChangingFormat(t *testing.T) {
	a := makeClip(t, "size-a.ts", "-f lavfi -i testsrc2=s=128x96:r=25:d=1 "+x264)
	b := makeClip(t, "size-b.ts", "-f lavfi -i testsrc2=s=192x160:r=25:d=1 -output_ts_offset 1 -pix_fmt yuv422p "+x264)
	path := filepath.Join(t.TempDir(), "ab.ts")
	if err := os.WriteFile(path, append(mustRead(t, a), mustRead(t, b)...), 0o644); err != nil {
		t.Fatal(err)
	}
	v := mustProbe(t, path)
	for _, bwdif := range []bool{false, true} {
		whole, _ := readAll(t, v, ReadOptions{From: NoTime, To: NoTime, Bwdif: bwdif})
		if len(whole) != 50 {
			t.Errorf("%d pictures", len(whole))
		}
		tail, _ := readAll(t, v, ReadOptions{From: whole[40].pts, To: NoTime, Bwdif: bwdif})
		if !slices.Equal(tail, whole[40:]) {
			t.Error("after the change, reading in parts gives other pictures")
		}
	}
}

func TestReadCancel(t *testing.T) {
	v := mustProbe(t, testClips[0].make(t))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := OpenReader(ctx, v, ReadOptions{From: NoTime, To: NoTime})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	p, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.Release()
	cancel()
	for range 2 {
		if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Next after cancel: %v", err)
		}
	}
	for name, f := range map[string]func() error{
		"ProbeVideo": func() error { _, err := ProbeVideo(ctx, v.Path); return err },
		"IndexVideo": func() error { _, err := IndexVideo(ctx, v, nil); return err },
		"OpenReader": func() error { _, err := OpenReader(ctx, v, ReadOptions{From: NoTime, To: NoTime}); return err },
	} {
		if err := f(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s after cancel: %v", name, err)
		}
	}
}

// Work that has begun ends soon after its context.
func TestCancelWhileReading(t *testing.T) {
	// A demuxer that looks for packets in a long file without any.
	path := filepath.Join(t.TempDir(), "holes.ts")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	clip := testClip{"mpeg2.ts", "$AUDIO" + mp2v}.make(t)
	if _, err := f.Write(mustRead(t, clip)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 40); err != nil {
		t.Fatal("no sparse files here")
	}
	v := mustProbe(t, clip)
	v.Path, v.Size = path, 1<<40
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	at := time.Now()
	if _, err := IndexVideo(ctx, v, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("IndexVideo: %v", err)
	}
	if took := time.Since(at); took > 2*time.Second {
		t.Errorf("IndexVideo ended %v after the start, with a deadline of 0.2 s", took)
	}
}

// Reading many times leaves neither memory nor files behind.
func TestVideoLeaks(t *testing.T) {
	path := testClips[0].make(t)
	once := func() {
		v := mustProbe(t, path)
		mustIndex(t, v)
		for _, bwdif := range []bool{false, true} {
			r, err := OpenReader(t.Context(), v, ReadOptions{From: 12800, To: NoTime, Bwdif: bwdif, Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			for range 6 { // and Close in the middle
				p, err := r.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				p.Release()
			}
			r.close()
		}
		if _, err := ProbeVideo(t.Context(), os.DevNull); err == nil {
			t.Fatal("no error")
		}
	}
	for range 10 {
		once()
	}
	before, files := rss(t), countFDs(t)
	for range 60 {
		once()
	}
	if after := rss(t); after > before+10 {
		t.Errorf("60 readings took %d MiB", after-before)
	}
	if n := countFDs(t); n != files {
		t.Errorf("%d files are open, %d were", n, files)
	}
}
