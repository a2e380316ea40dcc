//! Calls of the system that the daemon never makes, refused by seccomp with `EPERM`, or, by `[host] seccomp_kills`, by the
//! end of the process.
//!
//! It is a list of what is refused and not of what is allowed. What a daemon needs is not written by it alone: the C
//! library, its resolver, SQLite and the runtime each change the calls they make from one version to the next and from one
//! machine to another, and a list of what is allowed ends a vault in the middle of the night after a harmless update. What
//! an intruder needs to get further, to another process, to the kernel, to another program, changes little. Calls that
//! come new into the kernel are allowed here until they are entered: reviewing the table is part of a release.
//!
//! The table holds for each call why an intruder wants it. Each row is tried by a test.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::Raised;

/// A condition on an argument of a call, by its number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It is this.
    Is(u8, u32),
    /// It is none of these.
    IsNone(u8, &'static [i32]),
    /// All of these bits are set in it.
    Has(u8, u32),
}

/// One refusal.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What the call is named.
    pub name: &'static str,
    /// Its number on this machine.
    pub number: c_long,
    /// With which arguments it is refused: with any where nothing stands here, otherwise where one of these holds.
    pub when: &'static [When],
    /// What for an intruder wants it.
    pub why: &'static str,
}

macro_rules! rows {
    ($($why:literal: $($(#[$on:meta])? $name:ident $([$when:expr])?)+;)+) => {
        &[$($($(#[$on])? Row {
            name: stringify!($name),
            number: rows!(@number $name),
            when: rows!(@when $($when)?),
            why: $why,
        }),+),+]
    };
    (@number $name:ident) => { numbers::$name };
    (@when) => { &[] };
    (@when $when:expr) => { $when };
}

/// The numbers under the names of the calls.
mod numbers {
    macro_rules! named {
        ($($(#[$on:meta])? $name:ident = $number:ident)+) => {
            $($(#[$on])? #[allow(non_upper_case_globals, reason = "named as the call is")]
            pub(super) const $name: libc::c_long = libc::$number;)+
        };
    }
    named! {
        ptrace = SYS_ptrace
        process_vm_readv = SYS_process_vm_readv
        process_vm_writev = SYS_process_vm_writev
        pidfd_getfd = SYS_pidfd_getfd
        kcmp = SYS_kcmp
        execve = SYS_execve
        execveat = SYS_execveat
        mount = SYS_mount
        umount2 = SYS_umount2
        move_mount = SYS_move_mount
        open_tree = SYS_open_tree
        fsopen = SYS_fsopen
        fsconfig = SYS_fsconfig
        fsmount = SYS_fsmount
        fspick = SYS_fspick
        mount_setattr = SYS_mount_setattr
        pivot_root = SYS_pivot_root
        chroot = SYS_chroot
        open_by_handle_at = SYS_open_by_handle_at
        mknodat = SYS_mknodat
        unshare = SYS_unshare
        setns = SYS_setns
        clone = SYS_clone
        bpf = SYS_bpf
        perf_event_open = SYS_perf_event_open
        userfaultfd = SYS_userfaultfd
        io_uring_setup = SYS_io_uring_setup
        io_uring_enter = SYS_io_uring_enter
        io_uring_register = SYS_io_uring_register
        add_key = SYS_add_key
        request_key = SYS_request_key
        keyctl = SYS_keyctl
        socket = SYS_socket
        #[cfg(target_arch = "x86_64")]
        modify_ldt = SYS_modify_ldt
        #[cfg(target_arch = "x86_64")]
        iopl = SYS_iopl
        #[cfg(target_arch = "x86_64")]
        ioperm = SYS_ioperm
        kexec_load = SYS_kexec_load
        kexec_file_load = SYS_kexec_file_load
        init_module = SYS_init_module
        finit_module = SYS_finit_module
        delete_module = SYS_delete_module
        reboot = SYS_reboot
        swapon = SYS_swapon
        swapoff = SYS_swapoff
        acct = SYS_acct
        quotactl = SYS_quotactl
        syslog = SYS_syslog
        vhangup = SYS_vhangup
        sethostname = SYS_sethostname
        setdomainname = SYS_setdomainname
        settimeofday = SYS_settimeofday
        clock_settime = SYS_clock_settime
        setuid = SYS_setuid
        setgid = SYS_setgid
        setreuid = SYS_setreuid
        setregid = SYS_setregid
        setresuid = SYS_setresuid
        setresgid = SYS_setresgid
        setfsuid = SYS_setfsuid
        setfsgid = SYS_setfsgid
        setgroups = SYS_setgroups
        capset = SYS_capset
        personality = SYS_personality
        prctl = SYS_prctl
        ioctl = SYS_ioctl
        mmap = SYS_mmap
        mprotect = SYS_mprotect
        pkey_mprotect = SYS_pkey_mprotect
    }
}

/// Flags of `clone` that make a namespace.
const NAMESPACES: &[When] = &[
    When::Has(0, libc::CLONE_NEWNS as u32),
    When::Has(0, libc::CLONE_NEWCGROUP as u32),
    When::Has(0, libc::CLONE_NEWUTS as u32),
    When::Has(0, libc::CLONE_NEWIPC as u32),
    When::Has(0, libc::CLONE_NEWUSER as u32),
    When::Has(0, libc::CLONE_NEWPID as u32),
    When::Has(0, libc::CLONE_NEWNET as u32),
];

/// The sockets that the daemon, its resolver and its supervisor need.
const SOCKETS: &[i32] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

const WRITE_AND_RUN: u32 = (libc::PROT_WRITE | libc::PROT_EXEC) as u32;

/// The table.
pub const ROWS: &[Row] = rows! {
    "to read and change other processes":
        ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp;
    "to run another program; the daemon runs none":
        execve execveat;
    "to change which files there are to see":
        mount umount2 move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr pivot_root chroot;
    "to open files past their folders, and to make devices":
        open_by_handle_at mknodat;
    "to be root in a namespace of one's own, where more of the kernel is within reach":
        unshare setns clone [NAMESPACES];
    "to reach large parts of the kernel that have often had holes":
        bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
        add_key request_key keyctl
        #[cfg(target_arch = "x86_64")] modify_ldt
        socket [&[When::IsNone(0, SOCKETS)]];
    "to take over the machine":
        kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl syslog
        vhangup sethostname setdomainname settimeofday clock_settime
        #[cfg(target_arch = "x86_64")] iopl
        #[cfg(target_arch = "x86_64")] ioperm;
    "to become somebody else":
        setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset personality;
    "to open the daemon's memory to others again":
        prctl [&[When::Is(0, libc::PR_SET_DUMPABLE as u32), When::Is(0, libc::PR_SET_PTRACER as u32)]];
    "to type into the terminal that the daemon was started from":
        ioctl [&[When::Is(1, libc::TIOCSTI as u32), When::Is(1, libc::TIOCLINUX as u32)]];
    "to run what was written into memory":
        mmap [&[When::Has(2, WRITE_AND_RUN)]]
        mprotect [&[When::Has(2, libc::PROT_EXEC as u32)]]
        pkey_mprotect [&[When::Has(2, libc::PROT_EXEC as u32)]];
};

/// Programs of the x32 kind use the numbers of x86-64 with this bit.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;
/// But calls whose arguments differ there have numbers of their own, `execve`, `ptrace` and `ioctl` among them
/// (`arch/x86/entry/syscalls/syscall_64.tbl` of Linux). The daemon makes none of these.
#[cfg(target_arch = "x86_64")]
pub const X32_OWN: std::ops::RangeInclusive<i64> = X32 | 512..=X32 | 547;

/// Refuses what the table says to the calling thread and to those that it will start, for good.
///
/// # Errors
/// The kernel took no filter though it has seccomp.
pub fn refuse(kills: bool) -> Result<Raised, String> {
    refuse_rows(ROWS, kills)
}

/// The same of some rows.
///
/// # Errors
/// As [`refuse`].
pub fn refuse_rows(rows: &[Row], kills: bool) -> Result<Raised, String> {
    let Ok(machine) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(Raised::Missing(format!("there are no seccomp filters for {} here", std::env::consts::ARCH)));
    };
    if rustix::thread::secure_computing_mode().is_err() {
        return Ok(Raised::Missing("this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)".to_owned()));
    }
    let eperm = SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error().unsigned_abs());
    let action = if kills { SeccompAction::KillProcess } else { eperm };
    let mut rules = BTreeMap::new();
    for row in rows {
        let these = conditions(row.when)?;
        #[cfg(target_arch = "x86_64")]
        rules.insert(row.number | X32, these.clone());
        rules.insert(row.number, these);
    }
    #[cfg(target_arch = "x86_64")]
    rules.extend(X32_OWN.map(|number| (number, Vec::new())));
    // `clone3` hides its flags behind a pointer. A kernel that does not know it has the C library call `clone`.
    let unknown = SeccompAction::Errno(rustix::io::Errno::NOSYS.raw_os_error().unsigned_abs());
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, action) in [(clone3, unknown), (rules, action)] {
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, action, machine).map_err(|error| error.to_string())?;
        let program = BpfProgram::try_from(filter).map_err(|error| error.to_string())?;
        seccompiler::apply_filter(&program).map_err(|error| error.to_string())?;
    }
    Ok(Raised::Stands(format!("{} refused", rows.len())))
}

/// One rule for each condition: they hold one without the other.
fn conditions(when: &[When]) -> Result<Vec<SeccompRule>, String> {
    let condition = |argument, op, value: u32| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value.into()).map_err(|error| error.to_string())
    };
    let rule = |when: &When| {
        let all = match *when {
            When::Is(argument, value) => vec![condition(argument, SeccompCmpOp::Eq, value)?],
            When::Has(argument, bits) => vec![condition(argument, SeccompCmpOp::MaskedEq(bits.into()), bits)?],
            When::IsNone(argument, values) => values
                .iter()
                .map(|value| condition(argument, SeccompCmpOp::Ne, value.unsigned_abs()))
                .collect::<Result<_, _>>()?,
        };
        SeccompRule::new(all).map_err(|error| error.to_string())
    };
    when.iter().map(rule).collect()
}
