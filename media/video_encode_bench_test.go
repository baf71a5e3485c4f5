package media

import (
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time of this process or of its children.
func cpu(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSegment decodes and encodes a 720p video with Reader and
// SegmentWriter and, in turn, with the ffmpeg command line and the same
// settings. Ratios over 1: ours is faster. On a machine that others use, the
// ratio of processor times is the steadier one.
func BenchmarkSegment(b *testing.B) {
	for _, encoder := range []string{"libx264", "libx265", "libsvtav1"} {
		b.Run(encoder, func(b *testing.B) {
			v := clip(b, "a.mp4", "-f lavfi -i testsrc2=s=1280x720:r=25:d=3,noise=alls=6:allf=t -c:v libx264 -preset veryfast -pix_fmt yuv420p")
			e, err := ChooseEncoding(v, EncodeOptions{Encoder: encoder, Preset: map[string]string{"libx265": "superfast", "libsvtav1": "10"}[encoder]})
			if err != nil {
				b.Fatal(err)
			}
			args := "-i " + v.Path + " -map 0:v:0 -vsync passthrough -c:v " + e.Encoder + " -g " + strconv.Itoa(e.Keyint)
			if encoder != "libsvtav1" {
				args += " -threads " + strconv.Itoa(e.Threads)
			}
			for k, o := range e.Options {
				args += " -" + k + " " + o
			}
			var ours, theirs, oursCPU, theirsCPU time.Duration
			var pictures int
			for b.Loop() {
				at, used := time.Now(), cpu(syscall.RUSAGE_SELF)
				pictures = encodeWhole(b, v, e)
				ours += time.Since(at)
				oursCPU += cpu(syscall.RUSAGE_SELF) - used
				at, used = time.Now(), cpu(syscall.RUSAGE_CHILDREN)
				ffmpeg(b, args+" "+filepath.Join(b.TempDir(), "cli.nut"))
				theirs += time.Since(at)
				theirsCPU += cpu(syscall.RUSAGE_CHILDREN) - used
			}
			b.ReportMetric(float64(pictures*b.N)/ours.Seconds(), "fps")
			b.ReportMetric(float64(pictures*b.N)/theirs.Seconds(), "ffmpeg-fps")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
			b.ReportMetric(theirsCPU.Seconds()/oursCPU.Seconds(), "cpu-ratio")
		})
	}
}

// encodeWhole writes a video as one segment, its reader in a goroutine of its
// own as in the pipeline.
func encodeWhole(b *testing.B, v *Video, e Encoding) int {
	ctx := b.Context()
	r, err := OpenReader(ctx, v, ReadOptions{From: NoTime, To: NoTime})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	w, err := CreateSegment(filepath.Join(b.TempDir(), "ours.nut"), v, e, 2)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	pictures, failed := make(chan *Picture, 4), make(chan error, 1)
	go func() {
		defer close(pictures)
		for {
			p, err := r.Next(ctx)
			if err != nil {
				failed <- err
				return
			}
			pictures <- p
		}
	}()
	n := 0
	for p := range pictures {
		if err := w.Write(ctx, p); err != nil {
			b.Fatal(err)
		}
		p.Release()
		n++
	}
	if err := <-failed; !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
	if err := w.Finish(ctx); err != nil {
		b.Fatal(err)
	}
	return n
}
