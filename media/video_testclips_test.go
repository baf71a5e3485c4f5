package media

import (
	"crypto/md5"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// clips is the folder of the clips that tests share; TestMain removes it.
var clips struct {
	sync.Mutex
	dir string
}

func removeClips() {
	if clips.dir != "" {
		os.RemoveAll(clips.dir)
	}
}

// makeClip makes a clip with the ffmpeg command, once in a run of the tests.
func makeClip(t testing.TB, name, args string) string {
	t.Helper()
	clips.Lock()
	defer clips.Unlock()
	if clips.dir == "" {
		var err error
		if clips.dir, err = os.MkdirTemp("", "restored-clips-"); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(clips.dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	a := append([]string{"-v", "error", "-nostdin", "-y"}, strings.Fields(args)...)
	if out, err := exec.Command("ffmpeg", append(a, path)...).CombinedOutput(); err != nil {
		os.Remove(path)
		t.Fatalf("ffmpeg %s: %v: %s", args, err, out)
	}
	return path
}

// testClip is a way of storing 50 pictures of 2 seconds.
type testClip struct{ name, args string }

func (c testClip) make(t testing.TB) string {
	t.Helper()
	args := "-f lavfi -i testsrc2=s=128x96:r=25:d=2 " + c.args
	if strings.Contains(c.args, "$AUDIO") {
		args = "-f lavfi -i testsrc2=s=128x96:r=25:d=2 -f lavfi -i sine=d=2 " + strings.ReplaceAll(c.args, "$AUDIO", "")
	}
	return makeClip(t, c.name, args)
}

const (
	x264 = "-c:v libx264 -preset veryfast -bf 3 -g 12 "
	x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3:keyint=12:min-keyint=12:open-gop="
	mp2v = "-c:v mpeg2video -bf 2 -g 12 -q:v 3 "
)

// testClips are the formats that are read in whole and in parts.
var testClips = []testClip{
	{"h264.mp4", "$AUDIO" + x264 + "-c:a aac"},
	{"h264.mov", x264},
	{"h264.mkv", x264},
	{"h264.flv", x264},
	{"h264.ts", "$AUDIO" + x264 + "-c:a aac"},
	{"h264.avi", x264},
	{"h264.nut", x264},
	{"raw.h264", x264},
	{"open.mp4", x264 + "-x264-params open-gop=1"},
	{"open.ts", x264 + "-x264-params open-gop=1"},
	{"mbaff.ts", x264 + "-flags +ildct+ilme -x264-params tff=1"},
	{"refresh.mkv", "-c:v libx264 -preset veryfast -bf 0 -g 12 -x264-params intra-refresh=1"},
	{"fragments.mp4", x264 + "-movflags frag_keyframe+empty_moov"},
	{"hevc.mp4", x265 + "0"},
	{"openhevc.mp4", x265 + "1"},
	{"openhevc.mkv", x265 + "1 -pix_fmt yuv420p10le"},
	{"openhevc.ts", x265 + "1"},
	{"mpeg2.mpg", "$AUDIO" + mp2v},
	{"mpeg2.vob", "$AUDIO" + mp2v},
	{"mpeg2.ts", "$AUDIO" + mp2v},
	{"mpeg2.mxf", mp2v},
	{"mpeg2.m2v", mp2v},
	{"interlaced.mpg", mp2v + "-flags +ildct+ilme -top 1"},
	{"mpeg1.mpg", "-c:v mpeg1video -bf 2 -g 12 -q:v 3"},
	{"mpeg4.mp4", "-c:v mpeg4 -bf 2 -g 12 -q:v 3"},
	{"mpeg4.avi", "-c:v mpeg4 -bf 2 -g 12 -q:v 3"},
	{"packed.avi", "-c:v libxvid -bf 2 -g 12 -q:v 3"},
	{"vp8.webm", "-c:v libvpx -b:v 200k -g 12 -auto-alt-ref 1 -lag-in-frames 8 -cpu-used 5 -deadline realtime"},
	{"vp9.webm", "-c:v libvpx-vp9 -b:v 200k -g 12 -auto-alt-ref 1 -lag-in-frames 8 -cpu-used 8 -deadline realtime"},
	{"av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 12"},
	{"ffv1.mkv", "-c:v ffv1 -g 5"},
	{"mjpeg.avi", "-c:v mjpeg -q:v 3"},
	{"prores.mov", "-c:v prores"},
	{"proresint.mov", "-c:v prores -flags +ildct -top 0"},
	{"rgb.avi", "-c:v rawvideo -pix_fmt bgr24"},
	{"theora.ogv", "-c:v libtheora -q:v 5 -g 12"},
	{"wmv.asf", "-c:v wmv2 -b:v 200k -g 12"},
	{"anim.gif", ""},
	{"vfr.mp4", "-vf select=not(eq(mod(n\\,7)\\,3))*not(between(n\\,20\\,30)) -vsync vfr " + x264},
	{"vfr.mkv", "-vf select=not(eq(mod(n\\,7)\\,3))*not(between(n\\,20\\,30)) -vsync vfr " + x264},
}

// shot is what a picture was when it was read.
type shot struct {
	pts, duration int64
	sum           [16]byte
}

func sum(p *Picture) [16]byte {
	h := md5.New()
	for i := range p.Planes() {
		w, rows := p.PlaneSize(i)
		for y := range rows {
			h.Write(p.Pix[i][y*p.Stride[i]:][:w*p.Bytes()])
		}
	}
	return [16]byte(h.Sum(nil))
}

// readAll reads every picture in o's bounds.
func readAll(t testing.TB, v *Video, o ReadOptions) ([]shot, ReadCounts) {
	t.Helper()
	r, err := OpenReader(t.Context(), v, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	var s []shot
	for {
		p, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return s, r.Counts()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		s = append(s, shot{p.PTS, p.Duration, sum(p)})
		p.Release()
	}
}

func mustProbe(t testing.TB, path string) *Video {
	t.Helper()
	v, err := ProbeVideo(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustIndex(t testing.TB, v *Video) Index {
	t.Helper()
	x, err := IndexVideo(t.Context(), v, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}
