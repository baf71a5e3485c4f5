package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/daemon"
	"restored/daemon/web"
	"restored/media"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Watch folders and restore what is dropped in",
		Long: `Watches the folders that the configuration names, restores each photo once it is
complete, and mirrors the results under the output folders. The queue survives a crash.
On SIGTERM or Ctrl-C the photos in work are finished, then it stops; a second signal
stops it at once, and what was in work is done again at the next start.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, cmd)
		},
	}
	addSettings(cmd)
	return cmd
}

func serve(ctx context.Context, cfg *config.Config, cmd *cobra.Command) error {
	log := newLogger(cmd.ErrOrStderr(), cfg.Log.Level)
	if len(cfg.Watch) == 0 {
		return usageErr("no folder to watch: set watch in the file given by --config")
	}
	e, err := openConfined(ctx, cfg, log)
	if err != nil {
		return err
	}
	d, err := daemon.New(cfg, daemon.Deps{
		Processor: processor{e}, IsPhoto: media.IsPhotoName, Videos: videos{engine: e}, IsVideo: media.IsVideoName, Log: log,
		About: web.About{Version: version, Model: e.hello.Model, Provider: e.hello.Provider},
	})
	if err == nil {
		err = d.Run(ctx)
	}
	return errors.Join(err, e.close())
}

// processor lets the daemon and the ledger work by the pipeline.
type processor struct{ engine engine }

// Process restores one photo.
func (p processor) Process(ctx context.Context, job daemon.Job) (daemon.Result, error) {
	r, err := p.engine.Photo(ctx, job.In, job.Out, claimOf(job))
	if err != nil {
		return daemon.Result{}, err
	}
	return resultOf(job.In, r)
}
