package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestProbeVideo(t *testing.T) {
	small := "-f lavfi -i testsrc2=s=128x96:r=25:d=0.4 "
	chapters := filepath.Join(t.TempDir(), "meta.txt")
	text := ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Two\n"
	if err := os.WriteFile(chapters, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	font := filepath.Join(t.TempDir(), "a.ttf")
	if err := os.WriteFile(font, []byte("no font"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, args string
		check      func(v *Video, s *Stream, p *PictureFormat) bool
	}{
		{"plain.mp4", small + x264, func(v *Video, s *Stream, p *PictureFormat) bool {
			return v.Format == "mov,mp4,m4a,3gp,3g2,mj2" && s.Codec == "h264" && p.Width == 128 && p.Height == 96 && p.Depth == 8 &&
				p.SubX == 1 && p.SubY == 1 && p.PixelFormat == "yuv420p" && p.FieldOrder == "progressive" && p.Rate == Rational{25, 1} &&
				v.Duration == 400*time.Millisecond && s.Frames == 10 && slices.Contains(s.Disposition, "default") && p.Rotation == 0 && !p.Flip
		}},
		{"aspect.mkv", small + "-aspect 16:9 -c:v mpeg4", func(_ *Video, _ *Stream, p *PictureFormat) bool {
			return p.SampleAspect == Rational{4, 3}
		}},
		{"hdr.mkv", small + "-pix_fmt yuv420p10le -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range tv -c:v libx265 -x265-params " +
			"log-level=none:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400:hdr10=1:repeat-headers=1",
			func(_ *Video, _ *Stream, p *PictureFormat) bool {
				return p.HDR && p.Depth == 10 && p.Primaries == "bt2020" && p.Transfer == "smpte2084" && p.Matrix == "bt2020nc" && p.Range == "tv"
			}},
		{"gray.mkv", small + "-pix_fmt gray10le -c:v ffv1", func(_ *Video, _ *Stream, p *PictureFormat) bool {
			return p.Mono && p.Depth == 10 && !p.RGB && !p.Alpha
		}},
		{"alpha.mov", small + "-c:v prores_ks -profile:v 4 -pix_fmt yuva444p10le", func(_ *Video, _ *Stream, p *PictureFormat) bool {
			return p.Alpha && p.SubX == 0 && !p.Mono
		}},
		{"rgb.mkv", small + "-pix_fmt gbrp -c:v ffv1", func(_ *Video, _ *Stream, p *PictureFormat) bool {
			return p.RGB && !p.Alpha && !p.Mono
		}},
		{"tff.mpg", small + mp2v + "-flags +ildct+ilme -top 1", func(_ *Video, _ *Stream, p *PictureFormat) bool { return p.FieldOrder == "tt" }},
		{"all.mkv", small + "-f lavfi -i sine=d=0.4 -f ffmetadata -i " + chapters + " -map 0 -map 1 -map_metadata 2 -map_chapters 2 -attach " + font +
			" -metadata:s:t mimetype=application/x-truetype-font -metadata:s:a language=deu -disposition:a:0 comment " + x264 + "-c:a aac",
			func(v *Video, _ *Stream, _ *PictureFormat) bool {
				return len(v.Streams) == 3 && v.Streams[1].Kind == KindAudio && v.Streams[1].Metadata["language"] == "ger" || v.Streams[1].Metadata["language"] == "deu" &&
					slices.Contains(v.Streams[1].Disposition, "comment") && v.Streams[2].Kind == KindAttachment && v.Metadata["title"] == "A film" &&
					len(v.Chapters) == 2 && v.Chapters[1].Start == 200*time.Millisecond && v.Chapters[1].End == 400*time.Millisecond && v.Chapters[1].Metadata["title"] == "Two"
			}},
		{"two.mkv", small + "-f lavfi -i testsrc=s=192x128:r=25:d=0.4 -map 0 -map 1 -disposition:v:0 0 -disposition:v:1 default " + x264, func(v *Video, _ *Stream, p *PictureFormat) bool {
			return v.Main == 1 && p.Width == 192
		}},
		{"cover.mp4", small + "-f lavfi -i testsrc=s=320x240:r=1:d=1 -map 0 -map 1 -c:v:0 libx264 -c:v:1 png -frames:v:1 1 -disposition:v:1 attached_pic", func(v *Video, _ *Stream, p *PictureFormat) bool {
			return v.Main == 0 && p.Width == 128
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := mustProbe(t, makeClip(t, "probe-"+c.name, c.args))
			if !c.check(v, v.Stream(), v.Stream().Picture) {
				t.Errorf("%+v\n%+v\n%+v", v, v.Stream(), v.Stream().Picture)
			}
		})
	}
}

// A display matrix is what happens to the coordinates, y down.
func TestDisplayMatrix(t *testing.T) {
	const one = 1 << 16
	for _, c := range []struct {
		a, b, c, d int32
		rotation   int
		flip       bool
	}{
		{one, 0, 0, one, 0, false},
		{0, one, -one, 0, 90, false},
		{-one, 0, 0, -one, 180, false},
		{0, -one, one, 0, 270, false},
		{-one, 0, 0, one, 0, true},   // left to right
		{one, 0, 0, -one, 180, true}, // upside down
		{0, one, one, 0, 270, true},  // transposed: mirrored, then turned left
		{0, 0, 0, 0, 0, false},
	} {
		var p PictureFormat
		p.display([]int32{c.a, c.b, 0, c.c, c.d, 0, 0, 0, 1 << 30})
		if p.Rotation != c.rotation || p.Flip != c.flip {
			t.Errorf("%v: turned by %d, flipped %v", c, p.Rotation, p.Flip)
		}
	}
}

// Rotation is by how much ffmpeg turns the pictures clockwise: the white corner
// at the top left goes round.
func TestRotation(t *testing.T) {
	source := makeClip(t, "corner.mp4", "-f lavfi -i color=black:s=64x48:r=25:d=0.2,drawbox=w=16:h=12:color=white:t=fill "+x264)
	found := map[int]bool{}
	for _, turn := range []string{"0", "90", "180", "270"} {
		path := makeClip(t, "corner"+turn+".mp4", "-i "+source+" -c copy -metadata:s:v:0 rotate="+turn)
		raw, err := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", path, "-frames:v", "1", "-s", "64x64", "-pix_fmt", "gray", "-f", "rawvideo", "-").Output()
		if err != nil || len(raw) != 64*64 {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		corners := map[int]int{0: 3*64 + 3, 90: 3*64 + 60, 180: 60*64 + 60, 270: 60*64 + 3} // where the white is after the turn
		p := mustProbe(t, path).Stream().Picture
		if raw[corners[p.Rotation]] < 200 || p.Flip {
			t.Errorf("rotate=%s: %d, but ffmpeg's pictures have the corner elsewhere", turn, p.Rotation)
		}
		found[p.Rotation] = true
	}
	if len(found) != 4 {
		t.Errorf("only %v", found)
	}
}

func TestNotVideo(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	clip := testClips[0].make(t)
	sound := makeClip(t, "sound.mp4", "-f lavfi -i sine=d=0.3")
	pipe := filepath.Join(dir, "pipe.mp4")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	b := mustRead(t, clip)
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"nothing", write("empty.mp4", ""), ErrNotVideo},
		{"text", write("text.mp4", strings.Repeat("a text\n", 1000)), ErrNotVideo},
		{"noise", write("noise.mkv", string(noise(100000, 7))), ErrNotVideo},
		{"folder", dir, ErrNotVideo},
		{"pipe", pipe, ErrNotVideo},
		{"missing", filepath.Join(dir, "missing.mp4"), fs.ErrNotExist},
		{"sound", sound, ErrNotVideo},
		{"photo", makePhoto(t, "jpeg", 64, 48, 3, 8, 1, smooth(64, 48, 3)), ErrNotVideo},
		{"HLS", write("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n"+clip+"\n#EXT-X-ENDLIST\n"), ErrNotVideo},
		{"HLS as mp4", write("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:1/x\n#EXT-X-ENDLIST\n"), ErrNotVideo},
		{"concat", write("list.ffconcat", "ffconcat version 1.0\nfile '"+clip+"'\n"), ErrNotVideo},
		{"DASH", write("list.mpd", `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet><Representation id="1"><BaseURL>`+clip+`</BaseURL></Representation></AdaptationSet></Period></MPD>`), ErrNotVideo},
		{"SDP", write("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"), ErrNotVideo},
		{"only a head", write("head.mp4", string(b[:40])), ErrNotVideo},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			v, err := ProbeVideo(ctx, c.path)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, %v; want %v", v, err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.path) {
				t.Errorf("%v doesn't name the file", err)
			}
		})
	}
}

func TestTooLargeVideo(t *testing.T) {
	b := slices.Clone(mustRead(t, makeClip(t, "large.avi", "-f lavfi -i testsrc2=s=128x96:r=25:d=0.2 -c:v ffv1")))
	i := strings.Index(string(b), "strf") // BITMAPINFOHEADER: width and height
	copy(b[i+12:], []byte{0, 0, 1, 0, 0, 0, 1, 0})
	path := put(t, "large.avi", b)
	if _, err := ProbeVideo(t.Context(), path); !errors.Is(err, ErrTooLarge) {
		t.Errorf("65536 pixels a side: %v", err)
	}
	many := filepath.Join(t.TempDir(), "meta.txt")
	var text strings.Builder
	text.WriteString(";FFMETADATA1\n")
	for i := range 100 {
		fmt.Fprintf(&text, "tag%d=%s\n", i, strings.Repeat("x", 50000))
	}
	if err := os.WriteFile(many, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	tags := makeClip(t, "tags.mkv", "-f lavfi -i testsrc2=s=128x96:r=25:d=0.2 -f ffmetadata -i "+many+" -map 0 -map_metadata 1 "+x264)
	if _, err := ProbeVideo(t.Context(), tags); !errors.Is(err, ErrTooLarge) {
		t.Errorf("5 MB of tags: %v", err)
	}
	streams := put(t, "streams.mp4", manyTracks(t, mustRead(t, makeClip(t, "one.mp4", "-f lavfi -i testsrc2=s=128x96:r=25:d=0.2 "+x264)), 20_000))
	if _, err := ProbeVideo(t.Context(), streams); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "streams") {
		t.Errorf("20000 streams: %v", err)
	}
}

// manyTracks has the one track of an MP4 file in it n times.
func manyTracks(t *testing.T, mp4 []byte, n int) []byte {
	t.Helper()
	box := func(data []byte, kind string) (at, end int) {
		for at+8 <= len(data) {
			end = at + int(binary.BigEndian.Uint32(data[at:]))
			if string(data[at+4:at+8]) == kind {
				return at, end
			}
			at = end
		}
		t.Fatalf("no %s", kind)
		return 0, 0
	}
	at, end := box(mp4, "moov")
	moov := mp4[at+8 : end]
	track, after := box(moov, "trak")
	body := slices.Concat(moov[:track], bytes.Repeat(moov[track:after], n), moov[after:])
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return slices.Concat(mp4[:at], head, []byte("moov"), body, mp4[end:])
}

func TestWorkFormat(t *testing.T) {
	for format, want := range map[string]string{
		"yuv420p": "yuv420p", "yuvj420p": "yuvj420p", "yuv422p10le": "yuv422p10le", "yuv444p12le": "yuv444p12le", "gray": "gray", "gray10le": "gray10le",
		"yuv410p": "yuv410p", "yuv411p": "yuv411p", "yuv440p": "yuv440p",
		"nv12": "yuv420p", "nv16": "yuv422p", "p010le": "yuv420p10le", "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yuv420p10be": "yuv420p10le",
		"yuva420p": "yuv420p", "yuva444p10le": "yuv444p10le", "rgb24": "yuv444p", "bgr0": "yuv444p", "bgra": "yuv444p", "gbrp": "yuv444p",
		"gbrp10le": "yuv444p10le", "gbrap12le": "yuv444p12le", "rgb48le": "yuv444p16le", "rgb565le": "yuv444p", "pal8": "yuv444p",
		"monow": "gray", "ya8": "gray", "gray16be": "gray16le", "xyz12le": "yuv444p12le", "gbrpf32le": "yuv444p16le", "ayuv64le": "yuv444p16le",
		"uyyvyy411": "yuv411p", "x2rgb10le": "yuv444p10le", "gray14le": "gray14le",
	} {
		d, err := describe(format)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		got, note := WorkFormat(d.PictureFormat)
		if got != want || (note == "") != (got == format) {
			t.Errorf("%s becomes %s (%s), want %s", format, got, note, want)
		}
		if w, err := describe(got); err != nil || !w.planar {
			t.Errorf("%s becomes %s, which isn't planar: %+v, %v", format, got, w, err)
		}
	}
}

// Every conversion that WorkFormat promises is one that FFmpeg makes, and a
// colour comes out as what it was.
func TestConversions(t *testing.T) {
	for _, c := range []struct{ format, codec string }{
		{"rgb24", "rawvideo"}, {"bgra", "rawvideo"}, {"gbrp10le", "ffv1"}, {"nv12", "rawvideo"}, {"yuyv422", "rawvideo"},
		{"yuva420p", "ffv1"}, {"yuv444p", "ffv1"}, {"pal8", "png"}, {"monow", "rawvideo"}, {"gray16be", "rawvideo"}, {"ya8", "png"}, {"rgb48be", "png"},
	} {
		t.Run(c.format, func(t *testing.T) {
			// A red of (200, 40, 40) on the whole picture; gray where there are no colours.
			path := makeClip(t, c.format+".nut", "-f lavfi -i color=0xc82828:s=66x50:r=25:d=0.12 -pix_fmt "+c.format+" -c:v "+c.codec)
			v := mustProbe(t, path)
			if v.Stream().Picture.PixelFormat != c.format {
				t.Fatalf("ffmpeg stores %s here", v.Stream().Picture.PixelFormat)
			}
			r, err := OpenReader(t.Context(), v, ReadOptions{From: NoTime, To: NoTime})
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			p, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Release()
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			cr, cg, cb, _ := p.At(33, 25).RGBA()
			got := [3]int{int(cr >> 8), int(cg >> 8), int(cb >> 8)}
			for i, want := range [3]int{200, 40, 40} {
				if d := got[i] - want; !p.Mono && c.format != "pal8" && (d < -4 || d > 4) {
					t.Errorf("the colour is %v, want (200, 40, 40)", got)
				}
			}
			if p.Mono && (got[0] != got[1] || got[1] != got[2]) {
				t.Errorf("gray is %v", got)
			}
		})
	}
}

func TestColour(t *testing.T) {
	for _, c := range []struct {
		p     PictureFormat
		codec string
		want  [5]float64 // Kr, Kb, full, site
	}{
		{PictureFormat{Height: 480, PixelFormat: "yuv420p", SubX: 1, SubY: 1}, "h264", [5]float64{0.299, 0.114, 0, 0, 0.5}},
		{PictureFormat{Height: 720, PixelFormat: "yuv420p", SubX: 1, SubY: 1}, "h264", [5]float64{0.2126, 0.0722, 0, 0, 0.5}},
		{PictureFormat{Height: 720, PixelFormat: "yuv420p", SubX: 1, SubY: 1, Matrix: "smpte170m"}, "h264", [5]float64{0.299, 0.114, 0, 0, 0.5}},
		{PictureFormat{Height: 480, PixelFormat: "yuvj420p", SubX: 1, SubY: 1, Range: "unknown"}, "mjpeg", [5]float64{0.299, 0.114, 1, 0.5, 0.5}},
		{PictureFormat{Height: 480, PixelFormat: "yuv420p10le", SubX: 1, SubY: 1, Matrix: "bt2020nc", Range: "tv", ChromaLocation: "topleft"}, "hevc", [5]float64{0.2627, 0.0593, 0, 0, 0}},
		{PictureFormat{Height: 480, PixelFormat: "yuv422p", SubX: 1, Range: "pc"}, "h264", [5]float64{0.299, 0.114, 1, 0, 0}},
		{PictureFormat{Height: 480, PixelFormat: "yuv411p", SubX: 2, ChromaLocation: "center"}, "dvvideo", [5]float64{0.299, 0.114, 0, 1.5, 0}},
		{PictureFormat{Height: 480, PixelFormat: "gray", Mono: true}, "ffv1", [5]float64{0.299, 0.114, 1, 0, 0}},
		{PictureFormat{Height: 480, PixelFormat: "gray", Mono: true}, "h264", [5]float64{0.299, 0.114, 0, 0, 0}},
	} {
		for _, s := range []*string{&c.p.Range, &c.p.Matrix, &c.p.ChromaLocation} {
			if *s == "" {
				*s = "unknown"
			}
		}
		k := c.p.colour(c.codec)
		got := [5]float64{k.Kr, k.Kb, 0, k.SiteX, k.SiteY}
		if k.Full {
			got[2] = 1
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v of %s: %v, want %v", c.p, c.codec, got, c.want)
		}
	}
}
