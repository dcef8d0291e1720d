package raft

// Role is what a member may do in a group.
type Role uint8

// The roles.
const (
	// Voter votes and counts toward commitment.
	Voter Role = 1 + iota
	// Learner receives the log and counts nowhere (§4.2.1).
	Learner
	// Witness votes and stores which entries exist, but has no state machine
	// and never leads (MG-07). Reserved: no member has this role yet.
	Witness
)

// String gives the role's name.
func (r Role) String() string {
	switch r {
	case Voter:
		return "voter"
	case Learner:
		return "learner"
	case Witness:
		return "witness"
	}
	return "unknown role"
}

// Member is one replica of a configuration.
type Member struct {
	ID          NodeID
	Incarnation Incarnation
	Role        Role
	// Addresses are where the node's transport listens, best first.
	Addresses []string
}

// Configuration is the membership of a group. It is an entry of the log and in
// force from the moment it is appended, committed or not (§4.1, MB-01).
//
// While Outgoing is not empty the configuration is joint (§4.3): a decision
// needs a majority of the voters among Members and, separately, a majority of
// Outgoing. A Configuration is immutable once it is in a log.
type Configuration struct {
	// Members is ordered by ID, each ID once. While joint it also holds the
	// servers that are about to leave.
	Members []Member
	// Outgoing are the voters of C_old while joint, ordered; else nil.
	Outgoing []NodeID
	// AutoLeave: a leader that finds this joint configuration committed
	// appends C_new by itself (MB-09).
	AutoLeave bool
}

// ConfigurationEntry is a configuration at its place in the log.
type ConfigurationEntry struct {
	ID            EntryID
	Configuration Configuration
}

// Joint reports whether decisions need two majorities.
func (c *Configuration) Joint() bool { return len(c.Outgoing) > 0 }

// Member gives the member with that id.
func (c *Configuration) Member(id NodeID) (Member, bool) {
	for _, m := range c.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Voters gives the ids of the voters among Members, ordered.
func (c *Configuration) Voters() []NodeID {
	voters := make([]NodeID, 0, len(c.Members))
	for _, m := range c.Members {
		if m.Role == Voter {
			voters = append(voters, m.ID)
		}
	}
	return voters
}
