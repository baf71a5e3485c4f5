package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// sweepWork removes work folders that belong to no run, and temporaries in the
// others, in which nobody works.
func (l *Ledger) sweepWork(ctx context.Context) error {
	// The folders before the rows: another machine may begin with a video meanwhile.
	entries, err := os.ReadDir(filepath.Join(l.root, workName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove left work: %w", err)
	}
	var all []videoRow
	err = l.inTx(ctx, func(tx *sql.Tx) (err error) {
		all, err = l.videos(ctx, tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("ledger: sweep: %w", err)
	}
	known := map[string]bool{}
	for _, v := range all {
		known[strconv.FormatInt(v.run, 10)] = true
		if v.kept || l.shared != nil { // others may work there
			continue
		}
		if err := sweep(l.workDir(v.run)); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if known[e.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(l.root, workName, e.Name())); err != nil {
			return fmt.Errorf("remove left work: %w", err)
		}
	}
	return nil
}
