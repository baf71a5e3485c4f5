package media

import (
	"errors"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// BenchmarkReadVideo prints what reading costs as a multiple of what
// `ffmpeg -i X -f null -` does, in processor time and in time by the clock.
func BenchmarkReadVideo(b *testing.B) {
	for _, c := range []struct{ name, args string }{
		{"h264", "-c:v libx264 -preset veryfast -bf 2"},
		{"hevc10", "-pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -x265-params log-level=none"},
		{"mpeg2", "-c:v mpeg2video -q:v 4 -bf 2"},
		{"ffv1", "-c:v ffv1"},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := makeClip(b, c.name+"-bench.mkv", "-f lavfi -i testsrc2=s=1280x720:r=25:d=8 "+c.args)
			v, err := ProbeVideo(b.Context(), path)
			if err != nil {
				b.Fatal(err)
			}
			var ours, theirs cost
			for b.Loop() {
				theirs.add(ffmpegCost(b, path))
				ours.add(ourCost(b, v, 200))
			}
			b.ReportMetric(float64(ours.cpu)/float64(theirs.cpu), "×ffmpeg-cpu")
			b.ReportMetric(float64(ours.wall)/float64(theirs.wall), "×ffmpeg-wall")
			b.ReportMetric(200*float64(b.N)/ours.wall.Seconds(), "pictures/s")
		})
	}
}

// cost is of a whole read: ours with the opening of the file, FFmpeg's, as it
// reports it itself, without that and without the start of its process, which
// takes longer than short clips do. By the clock the two compare only on a
// machine with nothing else to do.
type cost struct{ cpu, wall time.Duration }

func (c *cost) add(d cost) { c.cpu, c.wall = c.cpu+d.cpu, c.wall+d.wall }

var benchLine = regexp.MustCompile(`utime=([0-9.]+)s stime=([0-9.]+)s rtime=([0-9.]+)s`)

func ffmpegCost(b *testing.B, path string) cost {
	out, err := exec.Command("ffmpeg", "-nostdin", "-benchmark", "-i", path, "-f", "null", "-").CombinedOutput()
	m := benchLine.FindStringSubmatch(string(out))
	if err != nil || m == nil {
		b.Fatalf("%v: %s", err, out)
	}
	seconds := func(s string) time.Duration {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			b.Fatal(err)
		}
		return time.Duration(f * float64(time.Second))
	}
	return cost{cpu: seconds(m[1]) + seconds(m[2]), wall: seconds(m[3])}
}

func ourCost(b *testing.B, v *Video, want int) cost {
	used := func() time.Duration {
		var r syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	at, before := time.Now(), used()
	r, err := OpenReader(b.Context(), v, ReadOptions{From: NoTime, To: NoTime})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for {
		p, err := r.Next(b.Context())
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			b.Fatal(err)
		}
		p.Release()
		n++
	}
	r.close()
	if n != want {
		b.Fatalf("%d pictures, want %d", n, want)
	}
	return cost{cpu: used() - before, wall: time.Since(at)}
}
