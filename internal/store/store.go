// Package store keeps everything in one PostgreSQL database. It is the only room that imports GORM; every method is one
// transaction, writes what the domain has decided, and guards it.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
	"p402.io/p402/migrations"
)

// Options is what a Store needs beside its database.
type Options struct {
	Now      func() time.Time
	IDs      *id.Source
	Card     meter.RateCard // the embedded price book
	MaxConns int            // 0 = 20
}

// Store is the database.
type Store struct {
	db   *gorm.DB
	now  func() time.Time
	ids  *id.Source
	card meter.RateCard

	batch *batch
	known *known
	plans planBook
}

// New connects to a migrated database.
func New(ctx context.Context, url string, o Options) (*Store, error) {
	db, err := open(url)
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	if o.MaxConns == 0 {
		o.MaxConns = 20
	}
	pool.SetMaxOpenConns(o.MaxConns)
	pool.SetMaxIdleConns(o.MaxConns)
	if err := pool.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("reach the database: %w", err)
	}
	s := &Store{db: db, now: o.Now, ids: o.IDs, card: o.Card, batch: &batch{}, known: &known{}}
	s.batch.write = s.writeBatch
	s.known.forget()
	return s, nil
}

func open(url string) (*gorm.DB, error) {
	db, err := gorm.Open(postgres.Open(url), &gorm.Config{Logger: logger.Discard, SkipDefaultTransaction: true})
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return db, nil
}

// Shutdown ends every connection.
func (s *Store) Shutdown() error {
	pool, err := s.db.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.db.WithContext(ctx).Exec("SELECT 1").Error }

// migrationLock keeps two starting nodes from migrating at once; any constant does.
const migrationLock = 4020402

// Migrate applies what is missing, each file in its own transaction.
func Migrate(ctx context.Context, url string) error {
	db, err := open(url)
	if err != nil {
		return err
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }() // nothing is pending on it
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return err
	}
	sort.Strings(files)
	if err := db.WithContext(ctx).Exec("CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())").Error; err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(migrations.FS, name)
		if err != nil {
			return err
		}
		if err := apply(ctx, db, name, string(text)); err != nil {
			return fmt.Errorf("migration %s: %w", name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, db *gorm.DB, name, text string) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", migrationLock).Error; err != nil {
			return err
		}
		var n int64
		if err := tx.Raw("SELECT count(*) FROM schema_migrations WHERE name = ?", name).Scan(&n).Error; err != nil || n > 0 {
			return err
		}
		conn, err := tx.Statement.ConnPool.ExecContext(ctx, text)
		if err != nil {
			return err
		}
		_ = conn // a script has no row count worth reading
		return tx.Exec("INSERT INTO schema_migrations (name) VALUES (?)", name).Error
	})
}

// maxTries bounds retries of a transaction that lost a race inside PostgreSQL.
const maxTries = 5

// tx runs one transaction. It may be retried, as it does nothing but write.
func (s *Store) tx(ctx context.Context, work func(tx *gorm.DB) error) error {
	for try := 1; ; try++ {
		err := s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := nameActor(ctx, tx); err != nil {
				return err
			}
			return work(tx)
		})
		if try == maxTries || !retryable(err) {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(10*try)) * time.Millisecond)
	}
}

// retryable: serialization failure and deadlock.
func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// violates reports whether a unique index refused a row.
func violates(err error, index string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == index
}

// exactly fails with otherwise unless the statement changed one row.
func exactly(res *gorm.DB, otherwise error) error {
	if res.Error != nil {
		return res.Error
	}
	if res.RowsAffected == 0 {
		return otherwise
	}
	return nil
}
