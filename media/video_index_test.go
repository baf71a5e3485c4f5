package media

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestSegments(t *testing.T) {
	ms := Rational{1, 1000}
	for _, c := range []struct {
		name string
		x    Index
		want []int64 // the cuts between spans, in seconds
	}{
		{"no keyframes", Index{First: 0, End: 90000}, nil},
		{"one", Index{First: 0, End: 90000, Keyframes: []int64{0}}, nil},
		{"every five seconds", Index{First: 0, End: 40000, Keyframes: []int64{0, 5000, 10000, 15000, 20000, 25000, 30000, 35000}}, []int64{10, 20, 30}},
		{"start isn't 0", Index{First: 7000, End: 40000, Keyframes: []int64{7000, 17000, 27000, 37000}}, []int64{17, 27}},
		{"short end", Index{First: 0, End: 25000, Keyframes: []int64{0, 10000, 20000}}, []int64{10}},
		{"far apart", Index{First: 0, End: 400000, Keyframes: []int64{0, 100000, 200000}}, []int64{100, 200}},
		{"short rather than long", Index{First: 0, End: 80000, Keyframes: []int64{0, 9000, 65000}}, []int64{9, 65}},
		{"long end", Index{First: 0, End: 100000, Keyframes: []int64{0, 12000}}, []int64{12}},
	} {
		spans := c.x.Segments(ms, 10*time.Second, time.Minute)
		var cuts []int64
		if spans[0][0] != NoTime || spans[len(spans)-1][1] != NoTime {
			t.Errorf("%s: %v has bounds", c.name, spans)
		}
		for i, s := range spans[1:] {
			if s[0] != spans[i][1] {
				t.Errorf("%s: %v has gaps", c.name, spans)
			}
			cuts = append(cuts, s[0]/1000)
		}
		if !reflect.DeepEqual(cuts, c.want) {
			t.Errorf("%s: cut at %v, want %v", c.name, cuts, c.want)
		}
	}
}

func TestIndexVideo(t *testing.T) {
	v := mustProbe(t, testClip{"h264.mp4", "$AUDIO" + x264 + "-c:a aac"}.make(t))
	var done []float64
	x, err := IndexVideo(t.Context(), v, func(f float64) { done = append(done, f) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(done) || done[len(done)-1] != 1 {
		t.Errorf("progress is %v", done)
	}
	if x.Variable || x.Corrupt != 0 || x.Bytes == 0 || x.Other == 0 || x.Bytes+x.Other > v.Size {
		t.Errorf("%+v", x)
	}
	if want := []int64{0, 36 * 512}; !slices.Equal(x.Keyframes, want) { // one in 12 pictures, kept a second apart
		t.Errorf("keyframes at %v, want %v", x.Keyframes, want)
	}
	for _, c := range testClips {
		if c.name[:3] == "vfr" && !mustIndex(t, mustProbe(t, c.make(t))).Variable {
			t.Errorf("%s isn't variable", c.name)
		}
	}
}

// A recording that begins in the middle of a group of pictures has as many as
// a decoder makes of it.
func TestIndexOfACut(t *testing.T) {
	for _, c := range []testClip{{"open.ts", x264 + "-x264-params open-gop=1"}, {"openhevc.ts", x265 + "1"}, {"mpeg2.ts", "$AUDIO" + mp2v}} {
		t.Run(c.name, func(t *testing.T) {
			b := mustRead(t, c.make(t))
			for _, share := range []int{3, 5, 9} {
				cut := put(t, "cut.ts", b[len(b)/188/share*188:])
				v := mustProbe(t, cut)
				x := mustIndex(t, v)
				whole, _ := readAll(t, v, ReadOptions{From: NoTime, To: NoTime})
				if x.Frames != int64(len(whole)) || x.First != whole[0].pts {
					t.Errorf("without its first 1/%d: the index has %d pictures from %d, the video %d from %d", share, x.Frames, x.First, len(whole), whole[0].pts)
				}
				for _, from := range []int{4, len(whole) / 2} {
					tail, _ := readAll(t, v, ReadOptions{From: whole[from].pts, To: NoTime, Direct: x.Direct})
					if !slices.Equal(tail, whole[from:]) {
						t.Errorf("without its first 1/%d: other pictures from %d", share, from)
					}
				}
			}
		})
	}
}

// A file that ends too early gives what is there, and says so.
func TestTruncatedVideo(t *testing.T) {
	for _, c := range []testClip{
		{"fast.mp4", x264 + "-movflags faststart"}, {"fragments.mp4", x264 + "-movflags frag_keyframe+empty_moov"},
		{"h264.mkv", x264}, {"vp8.webm", "-c:v libvpx -b:v 200k -g 12"}, {"mjpeg.avi", "-c:v mjpeg -q:v 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := mustRead(t, c.make(t))
			path := put(t, c.name, b[:len(b)*6/10])
			v := mustProbe(t, path)
			x := mustIndex(t, v)
			if x.Truncated == "" || x.Frames < 10 || x.Frames > 45 {
				t.Errorf("%+v", x)
			}
			whole, n := readAll(t, v, ReadOptions{From: NoTime, To: NoTime})
			if len(whole) < 10 || len(whole) > 45 {
				t.Errorf("%d pictures, the index has %d", len(whole), x.Frames)
			}
			if n.Truncated == "" {
				t.Errorf("counts are %+v", n)
			}
			mid := len(whole) / 2
			tail, _ := readAll(t, v, ReadOptions{From: whole[mid].pts, To: NoTime})
			if !slices.Equal(tail, whole[mid:]) {
				t.Error("other pictures from the middle")
			}
			if first, n := readAll(t, v, ReadOptions{From: NoTime, To: whole[3].pts}); len(first) != 3 || n.Truncated != "" {
				t.Errorf("the part before the end: %d pictures, %+v", len(first), n)
			}
		})
	}
}

// Damage is counted, and doesn't end the reading.
func TestDamagedVideo(t *testing.T) {
	for _, c := range []testClip{{"h264.mkv", x264}, {"mpeg2.ts", "$AUDIO" + mp2v}, {"openhevc.mp4", x265 + "1"}, {"mjpeg.avi", "-c:v mjpeg -q:v 3"}} {
		t.Run(c.name, func(t *testing.T) {
			b := slices.Clone(mustRead(t, c.make(t)))
			copy(b[len(b)/2:len(b)/2+1500], noise(1500, 3))
			path := filepath.Join(t.TempDir(), c.name)
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			whole, n := readAll(t, mustProbe(t, path), ReadOptions{From: NoTime, To: NoTime})
			if len(whole) < 30 || len(whole) > 51 {
				t.Errorf("%d pictures", len(whole))
			}
			if n.Corrupt == 0 && c.name != "mjpeg.avi" {
				t.Errorf("counts are %+v", n)
			}
		})
	}
}
