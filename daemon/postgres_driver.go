package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// postgres is a shared ledger's database. Its transactions are database/sql's,
// as SQLite's are, so that the ledger is one; River joins them by the
// connection below.
type postgres struct {
	pool *pgxpool.Pool
	txs  sync.Map // *sql.Tx → *pgx.Conn, of the transactions that are open
}

// ledgerLock is the advisory lock that each transaction on a shared ledger
// takes: they come one after the other, as on SQLite.
const ledgerLock = 0x72657374 // "rest"

func (p *postgres) inTx(ctx context.Context, db *sql.DB, held *heldJob, f func(*sql.Tx) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // gives it back
	var below *pgx.Conn
	err = conn.Raw(func(c any) error {
		below = c.(*stdlib.Conn).Conn() //nolint:forcetypeassert // stdlib's pool has no others
		return nil
	})
	if err != nil {
		return err
	}
	// Without cancel: database/sql would roll back beside River's work on the
	// connection. The statements have ctx, and end by it.
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	p.txs.Store(tx, below)
	defer p.txs.Delete(tx)
	_, err = tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", ledgerLock)
	if err == nil && held != nil {
		err = held.check(ctx, tx)
	}
	if err == nil {
		err = f(tx)
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// sharedDriver is River's driver for PostgreSQL with two changes: its
// transactions are the ledger's, and its client fetches from several queues.
type sharedDriver struct {
	*riverpgxv5.Driver
	postgres *postgres
	fetch    *fetcher // nil = nothing is fetched
}

// GetExecutor gives River what it fetches and maintains its jobs with.
func (d *sharedDriver) GetExecutor() riverdriver.Executor {
	inner := d.Driver.GetExecutor()
	if d.fetch == nil {
		return inner
	}
	return &fetchExecutor{inner, d.fetch}
}

// UnwrapExecutor lets River work in a transaction of the ledger.
func (d *sharedDriver) UnwrapExecutor(tx *sql.Tx) riverdriver.ExecutorTx {
	conn, ok := d.postgres.txs.Load(tx)
	if !ok {
		panic("daemon: a transaction that isn't inTx's")
	}
	return d.Driver.UnwrapExecutor(&ledgerTx{connection: conn.(*pgx.Conn)}) //nolint:forcetypeassert // inTx stores no others
}

// UnwrapTx is asked for by middleware on inserts, of which we have none.
func (d *sharedDriver) UnwrapTx(riverdriver.ExecutorTx) *sql.Tx {
	panic("daemon: River has no transaction of its own to give")
}

// fetcher says what a client may fetch.
type fetcher struct {
	lanes []string    // River's queues, in the order in which they are looked at
	hold  func() bool // nothing is fetched now
}

// fetchExecutor fetches for River's one producer from all lanes, in their
// order. So the producer's limit holds for all of them together, and no lane
// keeps another from its turn.
type fetchExecutor struct {
	riverdriver.Executor
	fetch *fetcher
}

// JobGetAvailable locks jobs for work.
func (e *fetchExecutor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	if params.Queue != river.QueueDefault {
		return e.Executor.JobGetAvailable(ctx, params) // notices
	}
	all := &riverdriver.JobGetAvailableResult{}
	if e.fetch.hold() {
		return all, nil
	}
	for _, lane := range e.fetch.lanes {
		of := *params
		of.Queue, of.MaxToLock = lane, params.MaxToLock-len(all.Jobs)
		if of.MaxToLock <= 0 {
			break
		}
		found, err := e.Executor.JobGetAvailable(ctx, &of)
		if err != nil {
			if len(all.Jobs) > 0 {
				return all, nil //nolint:nilerr // what is locked is to be worked on; the next fetch meets the error
			}
			return nil, err
		}
		all.Jobs = append(all.Jobs, found.Jobs...)
		for id, err := range found.DecodeErrors {
			if all.DecodeErrors == nil {
				all.DecodeErrors = map[int64]error{}
			}
			all.DecodeErrors[id] = err
		}
	}
	return all, nil
}

// ledgerTx is the ledger's transaction as pgx knows one, or a savepoint in it.
// The ledger ends it, not River.
type ledgerTx struct {
	connection
	depth int // 0 = the transaction itself
	ended bool
}

// connection is what of a connection is also of a transaction.
type connection interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
	Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
}

func (t *ledgerTx) point() string { return fmt.Sprintf("river_%d", t.depth) }

// Begin makes a savepoint.
func (t *ledgerTx) Begin(ctx context.Context) (pgx.Tx, error) {
	inner := &ledgerTx{connection: t.connection, depth: t.depth + 1}
	_, err := t.Exec(ctx, "SAVEPOINT "+inner.point())
	return inner, err
}

// Commit ends a savepoint.
func (t *ledgerTx) Commit(ctx context.Context) error {
	return t.end(ctx, "RELEASE SAVEPOINT "+t.point())
}

// Rollback undoes what was done since a savepoint.
func (t *ledgerTx) Rollback(ctx context.Context) error {
	return t.end(ctx, "ROLLBACK TO SAVEPOINT "+t.point())
}

func (t *ledgerTx) end(ctx context.Context, how string) error {
	if t.depth == 0 {
		return errors.New("the transaction is the ledger's to end")
	}
	if t.ended {
		return pgx.ErrTxClosed
	}
	t.ended = true
	_, err := t.Exec(ctx, how)
	return err
}

// LargeObjects aren't used.
func (t *ledgerTx) LargeObjects() pgx.LargeObjects { panic("daemon: no large objects") }

// Conn is nobody's business but the ledger's.
func (t *ledgerTx) Conn() *pgx.Conn { return nil }
