package media

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	testVideo = "-f lavfi -i testsrc2=s=192x128:r=25:d=2 "
	testAudio = "-f lavfi -i sine=d=2 "
)

// joinCases are sources of every kind that a join must keep whole.
var joinCases = []struct {
	name  string
	file  string
	make  string // ffmpeg's arguments before the file's name; FILES is a folder with what they read
	again string // arguments of a second run, which copies
	n     int    // pictures a segment
	muxer string
	codec string
	depth int
	check func(t *testing.T, r rewritten)
}{
	{name: "plain", file: "a.mp4", make: testVideo + testAudio + "-c:v libx264 -pix_fmt yuv420p -c:a aac -movflags faststart", n: 20, muxer: "mp4", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			f, err := os.Open(r.out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if first, err := fastStart(f); !first || err != nil {
				t.Errorf("the index isn't first: %v", err)
			}
		}},
	{name: "variable rate", file: "a.mp4", make: testVideo + testAudio + "-vf select='not(eq(mod(n\\,5)\\,2))',setpts=PTS+random(1)*300 -vsync vfr -c:v libx264 -video_track_timescale 90000 -pix_fmt yuv420p -c:a aac", n: 15, muxer: "mp4", codec: "h264", depth: 8},
	{name: "rotated 90", file: "a.mp4", make: testVideo + "-c:v libx264 -pix_fmt yuv420p", again: "-metadata:s:v rotate=90", n: 30, muxer: "mp4", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams v:0 -show_entries stream_side_data=rotation", "rotation=90")
		}},
	{name: "interlaced", file: "a.mkv", make: testVideo + "-vf scale=out_color_matrix=bt601,setfield=tff -c:v libx264 -x264-params tff=1 -pix_fmt yuv420p", n: 20, muxer: "matroska", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams v:0 -show_entries stream=field_order", "field_order=progressive")
			if !r.e.Deinterlaced || !strings.Contains(strings.Join(r.info.Notes, "\n"), "bwdif") {
				t.Errorf("not said: %q", r.info.Notes)
			}
		}},
	{name: "10-bit hevc", file: "a.mp4", make: testVideo + testAudio + "-c:v libx265 -pix_fmt yuv420p10le -tag:v hvc1 -preset ultrafast -x265-params log-level=none -c:a aac", n: 20, muxer: "mp4", codec: "hevc", depth: 10,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams v:0 -show_entries stream=codec_tag_string,pix_fmt", "codec_tag_string=hvc1", "pix_fmt=yuv420p10le")
		}},
	{name: "no audio", file: "a.mp4", make: testVideo + "-c:v libx264 -pix_fmt yuv420p", n: 50, muxer: "mp4", codec: "h264", depth: 8},
	{name: "two audio tracks", file: "a.mkv", make: testVideo + testAudio + testAudio + "-map 0 -map 1 -map 2 -c:v libx264 -pix_fmt yuv420p -c:a:0 aac -c:a:1 ac3 -metadata:s:a:0 language=fra -metadata:s:a:1 language=deu -metadata:s:a:1 title=Kommentar -disposition:a:1 default+comment", n: 20, muxer: "matroska", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams a:0 -show_entries stream=codec_name:stream_tags", "TAG:language=fra", "codec_name=aac")
			want(t, r.out, "-select_streams a:1 -show_entries stream=codec_name:stream_tags:stream_disposition", "TAG:language=deu", "TAG:title=Kommentar", "DISPOSITION:default=1", "DISPOSITION:comment=1")
		}},
	{name: "two audio tracks in mp4", file: "a.mp4", make: testVideo + testAudio + testAudio + "-map 0 -map 1 -map 2 -c:v libx264 -pix_fmt yuv420p -c:a aac -metadata:s:a:0 language=fra -metadata:s:a:1 language=deu", n: 20, muxer: "mp4", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams a:1 -show_entries stream_tags", "TAG:language=deu")
		}},
	{name: "subtitles in mkv", file: "a.mkv", make: testVideo + "-i FILES/a.srt -map 0 -map 1 -c:v libx264 -pix_fmt yuv420p -c:s srt -metadata:s:s language=spa -disposition:s forced", n: 20, muxer: "matroska", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams s -show_entries stream=codec_name:stream_tags=language:stream_disposition", "codec_name=subrip", "TAG:language=spa", "DISPOSITION:forced=1")
		}},
	{name: "subtitles in mp4", file: "a.mp4", make: testVideo + testAudio + "-i FILES/a.srt -map 0 -map 1 -map 2 -c:v libx264 -pix_fmt yuv420p -c:a aac -c:s mov_text -metadata:s:s language=spa", n: 20, muxer: "mp4", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams s -show_entries stream=codec_name:stream_tags=language", "codec_name=mov_text", "TAG:language=spa")
		}},
	{name: "chapters and tags", file: "a.mkv", make: testVideo + "-i FILES/chapters.txt -map 0 -map_chapters 1 -map_metadata 1 -c:v libx264 -pix_fmt yuv420p", n: 20, muxer: "matroska", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-show_chapters -show_entries format_tags", "TAG:title=Opening", "TAG:title=Zweites = Kapitel", "TAG:title=The film", "TAG:ORIGIN=a cellar")
		}},
	{name: "chapters and tags in mp4", file: "a.mp4", make: testVideo + "-i FILES/chapters.txt -map 0 -map_chapters 1 -map_metadata 1 -c:v libx264 -pix_fmt yuv420p -movflags use_metadata_tags", n: 20, muxer: "mp4", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-show_chapters -show_entries format_tags", "TAG:title=Opening", "TAG:title=Zweites = Kapitel", "TAG:title=The film", "TAG:origin=a cellar")
		}},
	{name: "attachment", file: "a.mkv", make: testVideo + "-attach FILES/font.ttf -metadata:s:t mimetype=application/x-truetype-font -metadata:s:t filename=font.ttf -c:v libx264 -pix_fmt yuv420p", n: 20, muxer: "matroska", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams t -show_entries stream=codec_name,codec_type,extradata_size:stream_tags", "codec_name=ttf", "extradata_size=9000", "TAG:filename=font.ttf", "TAG:mimetype=application/x-truetype-font")
		}},
	{name: "cover in mp4", file: "a.mp4", make: testVideo + testAudio + "-i FILES/cover.jpg -map 0 -map 1 -map 2 -c:v:0 libx264 -pix_fmt:v:0 yuv420p -c:a aac -c:v:1 copy -disposition:v:1 attached_pic -metadata title=With=cover", n: 20, muxer: "mp4", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams v:1 -show_entries stream=codec_name:stream_disposition=attached_pic", "codec_name=mjpeg", "DISPOSITION:attached_pic=1")
			want(t, r.out, "-show_entries format_tags", "TAG:title=With=cover")
		}},
	{name: "cover in mkv", file: "a.mkv", make: testVideo + "-attach FILES/cover.jpg -metadata:s:t mimetype=image/jpeg -c:v libx264 -pix_fmt yuv420p", n: 20, muxer: "matroska", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams v:1 -show_entries stream=codec_name:stream_disposition=attached_pic", "codec_name=mjpeg", "DISPOSITION:attached_pic=1")
		}},
	{name: "start offset", file: "a.mp4", make: "-itsoffset 0.52 " + testVideo + testAudio + "-c:v libx264 -pix_fmt yuv420p -c:a aac", n: 20, muxer: "mp4", codec: "h264", depth: 8},
	{name: "late audio", file: "a.mkv", make: testVideo + "-itsoffset 0.731 " + testAudio + "-c:v libx264 -pix_fmt yuv420p -c:a libopus", n: 20, muxer: "matroska", codec: "h264", depth: 8},
	{name: "HDR10", file: "a.mkv", make: testVideo + "-c:v libx265 -pix_fmt yuv420p10le -preset ultrafast -color_range tv -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -x265-params log-level=none:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400", n: 20, muxer: "matroska", codec: "hevc", depth: 10,
		check: func(t *testing.T, r rewritten) {
			colours := []string{"color_transfer=smpte2084", "color_primaries=bt2020", "color_space=bt2020nc", "color_range=tv", "max_content=1000", "max_average=400"}
			want(t, r.out, "-select_streams v -show_entries stream=color_transfer,color_primaries,color_space,color_range:stream_side_data",
				append(colours, "red_x=17/25", "white_point_y=329/1000", "max_luminance=1000/1", "min_luminance=1/200")...)
			want(t, r.out, "-select_streams v -read_intervals %+#1 -show_entries frame=color_transfer,color_primaries,color_space,color_range:frame_side_data_list",
				append(colours, "red_x=34000/50000", "white_point_y=16450/50000", "max_luminance=10000000/10000", "min_luminance=50/10000")...)
		}},
	{name: "4:2:2 10-bit", file: "a.mov", make: testVideo + "-f lavfi -i sine=r=48000:d=2 -c:v libx264 -pix_fmt yuv422p10le -c:a pcm_s24le -timecode 01:02:03:04", n: 20, muxer: "mov", codec: "h264", depth: 10,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams v -show_entries stream=pix_fmt,profile:stream_tags", "pix_fmt=yuv422p10le", "TAG:timecode=01:02:03:04")
			want(t, r.out, "-select_streams d -show_entries stream=codec_tag_string", "codec_tag_string=tmcd")
		}},
	{name: "prores", file: "a.mov", make: testVideo + "-vf setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709 -c:v prores_ks -pix_fmt yuv444p12le", n: 20, muxer: "mov", codec: "hevc", depth: 12,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-select_streams v -show_entries stream=pix_fmt,color_space,color_transfer,color_primaries", "pix_fmt=yuv444p12le", "color_space=bt709", "color_transfer=bt709", "color_primaries=bt709")
		}},
	{name: "mpeg4 in avi", file: "a.avi", make: testVideo + testAudio + "-c:v mpeg4 -q:v 2 -aspect 16:9 -c:a libmp3lame", n: 20, muxer: "matroska", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			if filepath.Base(r.out) != "out.avi.mkv" || !strings.Contains(strings.Join(r.info.Notes, "\n"), "matroska") {
				t.Errorf("%s, %q", r.out, r.info.Notes)
			}
			want(t, r.out, "-select_streams v -show_entries stream=display_aspect_ratio", "display_aspect_ratio=16:9")
		}},
	{name: "mpeg2 in mpg", file: "a.mpg", make: testVideo + testAudio + "-c:v mpeg2video -q:v 2 -bf 2 -c:a mp2 -f mpeg", n: 20, muxer: "matroska", codec: "h264", depth: 8},
	{name: "mpeg2 in ts", file: "a.ts", make: testVideo + testAudio + "-c:v mpeg2video -q:v 2 -bf 2 -c:a mp2 -metadata service_name=Eins", n: 20, muxer: "mpegts", codec: "h264", depth: 8,
		check: func(t *testing.T, r rewritten) {
			want(t, r.out, "-show_programs", "TAG:service_name=Eins")
		}},
	{name: "vp8 in webm", file: "a.webm", make: testVideo + testAudio + "-c:v libvpx -b:v 1M -auto-alt-ref 1 -lag-in-frames 16 -c:a libvorbis", n: 20, muxer: "webm", codec: "vp9", depth: 8},
	{name: "av1", file: "a.mkv", make: testVideo + "-c:v libsvtav1 -preset 10 -pix_fmt yuv420p10le", n: 20, muxer: "matroska", codec: "av1", depth: 10},
	{name: "ffv1", file: "a.mkv", make: testVideo + "-f lavfi -i sine=r=48000:d=2 -c:v ffv1 -level 3 -pix_fmt yuv422p10le -c:a flac", n: 20, muxer: "matroska", codec: "ffv1", depth: 10},
	{name: "gif", file: "a.gif", make: "-f lavfi -i testsrc2=s=192x128:r=10:d=2", n: 7, muxer: "matroska", codec: "h264", depth: 8},
	{name: "gray", file: "a.avi", make: testVideo + "-c:v mjpeg -q:v 2 -pix_fmt gray -color_range pc -strict -1", n: 20, muxer: "matroska", codec: "h264", depth: 8},
	{name: "dv 4:1:1", file: "a.avi", make: "-f lavfi -i testsrc2=s=720x480:r=30000/1001:d=0.4 -c:v dvvideo -pix_fmt yuv411p", n: 5, muxer: "matroska", codec: "h264", depth: 8},
	{name: "one picture", file: "a.mp4", make: "-f lavfi -i testsrc2=s=192x128:r=25 -frames:v 1 -c:v libx264 -pix_fmt yuv420p", n: 1, muxer: "mp4", codec: "h264", depth: 8},
	{name: "odd size", file: "a.mp4", make: "-f lavfi -i testsrc2=s=193x127:r=25:d=1 -c:v libx264 -pix_fmt yuv444p", n: 9, muxer: "mp4", codec: "h264", depth: 8},
	{name: "flv", file: "a.flv", make: testVideo + testAudio + "-c:v libx264 -pix_fmt yuv420p -c:a aac", n: 20, muxer: "flv", codec: "h264", depth: 8},
}

func TestJoinKeeps(t *testing.T) {
	files := t.TempDir()
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(files, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("a.srt", "1\n00:00:00,200 --> 00:00:00,900\nHola\n\n2\n00:00:01,000 --> 00:00:01,700\nAdiós\n")
	put("chapters.txt", ";FFMETADATA1\ntitle=The film\norigin=a cellar\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=700\ntitle=Opening\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=700\nEND=2000\ntitle=Zweites = Kapitel\n")
	put("font.ttf", string(noise(9000, 7)))
	ffmpeg(t, "-f lavfi -i testsrc2=s=64x64 -frames:v 1 -q:v 3 "+filepath.Join(files, "cover.jpg"))
	for _, c := range joinCases {
		t.Run(c.name, func(t *testing.T) {
			src := filepath.Join(t.TempDir(), c.file)
			ffmpeg(t, strings.ReplaceAll(c.make, "FILES", files)+" "+src)
			if c.again != "" {
				first := src
				src = filepath.Join(t.TempDir(), c.file)
				ffmpeg(t, "-i "+first+" -map 0 -c copy "+c.again+" "+src)
			}
			r := rewrite(t, src, c.n, EncodeOptions{})
			if r.e.Muxer != c.muxer || r.e.Codec != c.codec {
				t.Errorf("%s in %s, want %s in %s", r.e.Codec, r.e.Muxer, c.codec, c.muxer)
			}
			sameTimes(t, r)
			sameCopies(t, r)
			samePictures(t, r, c.depth)
			if c.muxer != "mpegts" {
				want(t, r.out, "-show_entries format_tags", provenanceKey+"="+DigitalSource)
			}
			if c.check != nil {
				c.check(t, r)
			}
			if t.Failed() {
				b, _ := json.Marshal(r.e)
				t.Logf("%s\n%q", b, r.info.Notes)
			}
		})
	}
}

// want looks for lines in what ffprobe prints; tags' names may be in capitals.
func want(t *testing.T, path, args string, lines ...string) {
	t.Helper()
	got := ffprobe(t, path, args)
	for _, l := range lines {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasSuffix(strings.ToLower(g), strings.ToLower(l)) }) {
			t.Errorf("no %q in ffprobe %s:\n%s", l, args, strings.Join(got, "\n"))
		}
	}
}

// column is one field of ffprobe's packets, in order, as seconds.
func column(t *testing.T, path, stream string) []float64 {
	t.Helper()
	var s []float64
	for _, l := range ffprobe(t, path, "-select_streams "+stream+" -show_entries packet=pts_time -of csv=p=0") {
		if f, err := strconv.ParseFloat(strings.Trim(l, ", "), 64); err == nil {
			s = append(s, f)
		}
	}
	slices.Sort(s)
	return s
}

// sameTimes compares every timestamp, the start and the duration.
func sameTimes(t *testing.T, r rewritten) {
	t.Helper()
	tb := rationalSeconds(r.v.Stream().TimeBase)
	got := column(t, r.out, "v:0")
	if len(got) != len(r.pts) {
		t.Fatalf("%d pictures, want %d", len(got), len(r.pts))
	}
	tick := max(tb, 1e-3) + 1e-6
	if r.e.Kept {
		tick = 2e-6 // ffprobe's digits
	}
	for i, p := range r.pts {
		if d := math.Abs(got[i] - float64(p)*tb); d > tick {
			t.Fatalf("picture %d at %f s, want %f s", i, got[i], float64(p)*tb)
		}
	}
	duration := func(path string) float64 {
		var start, f float64
		fmt.Sscanf(ffprobe(t, path, "-show_entries format=start_time,duration -of csv=p=0")[0], "%g,%g", &start, &f)
		if strings.HasSuffix(path, ".mkv") || strings.HasSuffix(path, ".webm") {
			f -= start // Matroska counts from zero
		}
		return f
	}
	a, b := duration(r.src), duration(r.out)
	if frame := 1 / (float64(r.e.Rate.Num) / float64(r.e.Rate.Den)); math.Abs(a-b) > frame+1e-3 {
		t.Errorf("it lasts %f s, the source %f s", b, a)
	}
}

// sameCopies compares all streams but the first video's, as FFmpeg copies them.
func sameCopies(t *testing.T, r rewritten) {
	t.Helper()
	for _, s := range r.v.Streams {
		if s.Index == r.v.Main || s.Kind != KindAudio && s.Kind != KindSubtitle && !slices.Contains(s.Disposition, "attached_pic") {
			continue
		}
		kind := map[Kind]string{KindAudio: "a", KindSubtitle: "s", KindVideo: "v"}[s.Kind]
		n := 0
		for _, o := range r.v.Streams[:s.Index] {
			if o.Kind == s.Kind {
				n++
			}
		}
		args := " -map 0:" + kind + ":" + strconv.Itoa(n) + " -c copy -f md5 -"
		if a, b := ffmpeg(t, "-i "+r.src+args), ffmpeg(t, "-i "+r.out+args); a != b {
			t.Errorf("stream %d: %s, want %s", s.Index, b, a)
		}
		if s.Kind == KindVideo {
			continue
		}
		stream := kind + ":" + strconv.Itoa(n)
		a, b := column(t, r.src, stream), column(t, r.out, stream)
		for i := range min(len(a), len(b)) {
			if len(a) == len(b) && math.Abs(a[i]-b[i]) > 1e-3 {
				t.Errorf("stream %d, packet %d at %f s, want %f s", s.Index, i, b[i], a[i])
				break
			}
		}
	}
}

// minPSNR is the least likeness in dB of a picture of noise-free tests at the default quality.
const minPSNR = 38

// samePictures decodes both and compares their luma.
func samePictures(t *testing.T, r rewritten, depth int) {
	t.Helper()
	ctx := t.Context()
	v, err := ProbeVideo(ctx, r.out)
	if err != nil {
		t.Fatal(err)
	}
	a, err := OpenReader(ctx, r.v, ReadOptions{From: NoTime, To: NoTime, Threads: 1, Bwdif: r.e.Deinterlaced})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := OpenReader(ctx, v, ReadOptions{From: NoTime, To: NoTime, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := 0; ; i++ {
		p, err := a.Next(ctx)
		q, err2 := b.Next(ctx)
		if err == io.EOF && err2 == io.EOF {
			if i != len(r.pts) {
				t.Errorf("%d pictures decoded, want %d", i, len(r.pts))
			}
			return
		}
		if err != nil || err2 != nil {
			t.Fatalf("picture %d: %v, %v", i, err, err2)
		}
		if q.Depth != depth {
			t.Fatalf("%d bits a sample, want %d", q.Depth, depth)
		}
		if p.Colour.Full != q.Colour.Full || p.Colour.Kr != q.Colour.Kr {
			t.Fatalf("colours %+v, want %+v", q.Colour, p.Colour)
		}
		var sum float64
		for y := range p.Height {
			for x := range p.Width {
				d := float64(p.Sample(0, x, y))/float64(int(1)<<p.Depth) - float64(q.Sample(0, x, y))/float64(int(1)<<q.Depth)
				sum += d * d
			}
		}
		if db := -10 * math.Log10(sum/float64(p.Width*p.Height)+1e-12); db < minPSNR {
			t.Fatalf("picture %d: %.1f dB, want %d", i, db, minPSNR)
		}
		p.Release()
		q.Release()
	}
}
