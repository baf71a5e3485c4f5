#ifndef RESTORED_VIDEO_READ_H
#define RESTORED_VIDEO_READ_H

#include <libavcodec/avcodec.h>
#include <libavfilter/avfilter.h>
#include <libavformat/avformat.h>
#include <libavutil/frame.h>
#include <stdint.h>

/* A file that a demuxer reads from, and the flag that stops it. */
typedef struct vr_io vr_io;

/* fd stays the caller's. NULL: no memory. */
vr_io *vr_io_new(int fd);
void vr_io_free(vr_io *io);
void vr_io_stop(vr_io *io, int stop);
/* errno of the last read that failed; 0: none. */
int vr_io_error(vr_io *io);
int64_t vr_io_pos(vr_io *io);

void vr_quiet(void);
/* Opens the file with one of the demuxers allowed. It can open no other file. */
int vr_open(vr_io *io, const char *name, const char *allowed, int max_streams, AVFormatContext **out);
/* avformat_find_stream_info whose decoders refuse more pixels than this. */
int vr_find_stream_info(AVFormatContext *fc, int64_t max_pixels);

AVStream *vr_stream(AVFormatContext *fc, int i);
/* Links src → chain → sink in the graph, and configures it. */
int vr_graph(AVFilterGraph *g, const char *src_args, const char *chain, AVFilterContext **src, AVFilterContext **sink);
/* Copies a picture into new memory, top row first. */
int vr_copy(AVFrame *dst, const AVFrame *src);

#endif
