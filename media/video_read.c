#include "video_read.h"

#include <errno.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/log.h>
#include <libavutil/opt.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VR_BUFFER = 256 << 10 };

struct vr_io {
	int fd;
	int64_t pos;
	int error;
	atomic_int stop;
	AVIOContext *pb;
};

static int vr_stopped(void *opaque)
{
	return atomic_load_explicit(&((vr_io *)opaque)->stop, memory_order_relaxed);
}

static int vr_read(void *opaque, uint8_t *buf, int size)
{
	vr_io *io = opaque;
	for (;;) {
		if (vr_stopped(io))
			return AVERROR_EXIT;
		ssize_t n = pread(io->fd, buf, size, io->pos);
		if (n > 0) {
			io->pos += n;
			return (int)n;
		}
		if (n == 0)
			return AVERROR_EOF;
		if (errno == EINTR)
			continue;
		io->error = errno;
		return AVERROR(errno);
	}
}

static int64_t vr_seek(void *opaque, int64_t offset, int whence)
{
	vr_io *io = opaque;
	struct stat st;
	if (whence & AVSEEK_SIZE || (whence & ~AVSEEK_FORCE) == SEEK_END) {
		if (fstat(io->fd, &st) != 0)
			return AVERROR(errno);
		if (whence & AVSEEK_SIZE)
			return st.st_size;
		offset += st.st_size;
	} else if ((whence & ~AVSEEK_FORCE) == SEEK_CUR) {
		offset += io->pos;
	}
	if (offset < 0)
		return AVERROR(EINVAL);
	return io->pos = offset;
}

vr_io *vr_io_new(int fd)
{
	vr_io *io = calloc(1, sizeof(*io));
	if (!io)
		return NULL;
	io->fd = fd;
	unsigned char *buf = av_malloc(VR_BUFFER);
	if (buf)
		io->pb = avio_alloc_context(buf, VR_BUFFER, 0, io, vr_read, NULL, vr_seek);
	if (!io->pb) {
		av_free(buf);
		free(io);
		return NULL;
	}
	return io;
}

void vr_io_free(vr_io *io)
{
	if (!io)
		return;
	av_freep(&io->pb->buffer);
	avio_context_free(&io->pb);
	free(io);
}

static int vr_no_open(AVFormatContext *s, AVIOContext **pb, const char *url, int flags, AVDictionary **options)
{
	(void)s, (void)url, (void)flags, (void)options;
	*pb = NULL;
	return AVERROR(EACCES);
}

int vr_open(vr_io *io, const char *name, const char *allowed, int max_streams, AVFormatContext **out)
{
	AVFormatContext *fc = avformat_alloc_context();
	AVDictionary *o = NULL;
	*out = NULL;
	if (!fc)
		return AVERROR(ENOMEM);
	fc->pb = io->pb;
	fc->flags |= AVFMT_FLAG_CUSTOM_IO;
	fc->io_open = vr_no_open;
	fc->interrupt_callback = (AVIOInterruptCB){vr_stopped, io};
	fc->max_streams = max_streams;
	int rc = av_dict_set(&o, "format_whitelist", allowed, 0);
	if (rc >= 0)
		rc = av_dict_set(&o, "protocol_whitelist", "none", 0);
	if (rc >= 0)
		rc = avformat_open_input(&fc, name, NULL, &o); /* frees fc when it fails */
	else
		avformat_free_context(fc);
	av_dict_free(&o);
	if (rc >= 0)
		*out = fc;
	return rc;
}

void vr_io_stop(vr_io *io, int stop) { atomic_store(&io->stop, stop); }
int vr_io_error(vr_io *io) { return io->error; }
int64_t vr_io_pos(vr_io *io) { return avio_tell(io->pb); }

void vr_quiet(void) { av_log_set_level(AV_LOG_QUIET); }

int vr_find_stream_info(AVFormatContext *fc, int64_t max_pixels)
{
	unsigned n = fc->nb_streams;
	AVDictionary **o = av_calloc(n ? n : 1, sizeof(*o));
	if (!o)
		return AVERROR(ENOMEM);
	int rc = 0;
	for (unsigned i = 0; i < n && rc >= 0; i++)
		rc = av_dict_set_int(&o[i], "max_pixels", max_pixels, 0);
	if (rc >= 0)
		rc = avformat_find_stream_info(fc, o);
	for (unsigned i = 0; i < n; i++)
		av_dict_free(&o[i]);
	av_free(o);
	return rc;
}

AVStream *vr_stream(AVFormatContext *fc, int i) { return fc->streams[i]; }

int vr_graph(AVFilterGraph *g, const char *src_args, const char *chain, AVFilterContext **src, AVFilterContext **sink)
{
	AVFilterInOut *in = avfilter_inout_alloc(), *out = avfilter_inout_alloc();
	int rc = AVERROR(ENOMEM);
	if (!in || !out)
		goto end;
	rc = avfilter_graph_create_filter(src, avfilter_get_by_name("buffer"), "in", src_args, NULL, g);
	if (rc < 0)
		goto end;
	rc = avfilter_graph_create_filter(sink, avfilter_get_by_name("buffersink"), "out", NULL, NULL, g);
	if (rc < 0)
		goto end;
	*out = (AVFilterInOut){.name = av_strdup("in"), .filter_ctx = *src};
	*in = (AVFilterInOut){.name = av_strdup("out"), .filter_ctx = *sink};
	rc = avfilter_graph_parse_ptr(g, chain, &in, &out, NULL);
	if (rc >= 0)
		rc = avfilter_graph_config(g, NULL);
end:
	avfilter_inout_free(&in);
	avfilter_inout_free(&out);
	return rc;
}

int vr_copy(AVFrame *dst, const AVFrame *src)
{
	dst->format = src->format;
	dst->width = src->width;
	dst->height = src->height;
	int rc = av_frame_get_buffer(dst, 0);
	if (rc >= 0)
		rc = av_frame_copy(dst, src);
	if (rc >= 0)
		rc = av_frame_copy_props(dst, src);
	return rc;
}
