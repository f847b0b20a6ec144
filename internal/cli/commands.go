package cli

// Commands returns the commands that the first argument can name, besides help. Without arguments
// notesd runs the first, serve.
func Commands() []Command {
	return []Command{
		{Name: "serve", Short: "serve; settings come from the environment (docs/CONFIGURATION.md)", Run: Serve},
		{Name: "healthcheck", Short: "exit 0 if the server on this machine is ready, 1 if not", Run: Healthcheck},
		{Name: "migrate", Short: "bring the database's schema up to date and say which it is", Run: Migrate},
		{Name: "user", Args: "add EMAIL", Run: User,
			Short: "make an account; prints a password unless -password-stdin gives one"},
		{Name: "user", Args: "reset EMAIL", Short: "give it a new password, end its sessions, turn its codes off",
			Run: User},
		{Name: "user", Args: "unlock EMAIL", Short: "let it sign in though too many passwords were wrong", Run: User},
		{Name: "user", Args: "disable EMAIL", Run: User,
			Short: "sign it out everywhere and refuse its password; its notes stay"},
		{Name: "user", Args: "enable EMAIL", Short: "let it sign in again", Run: User},
		{Name: "user", Args: "list", Short: "every account", Run: User},
		{Name: "user", Args: "quota EMAIL", Run: User,
			Short: "what it stores and may store; -notes, -mb and -history change that"},
		{Name: "user", Args: "delete EMAIL", Short: "delete it with all of its notes", Run: User},
		{Name: "import-legacy", Run: ImportLegacy,
			Short: "bring the old backend's accounts and notes over (docs/IMPORT.md)"},
		{Name: "check", Run: Check,
			Short: "judge this set-up and say what to set; exit 3 if something must be; notesd check -h says how"},
		{Name: "backup", Args: "FILE", Run: Backup,
			Short: "save the database, also while it is served; -h: into a directory, verify (docs/BACKUP.md)"},
		{Name: "restore", Args: "FILE", Short: "put a backup into an empty database of either engine", Run: Restore},
		{Name: "bench", Args: "[SCENARIO]", Run: Bench,
			Short: "put load on notesd and measure it; notesd bench -h says how"},
		{Name: "version", Short: "which build this is", Run: Version},
	}
}
