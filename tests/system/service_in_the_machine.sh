#!/bin/bash
# Runs in the virtual machine, as its init and then as a service of systemd's: the unit as shipped, with every controller.
# Called with `boot CHECKOUT PYTHON`; says on standard output what it sees, a word and a value a line.
checkout=/opt/iovigil
group=/sys/fs/cgroup/system.slice/iovigil.service
drop_in=/run/systemd/system/iovigil.service.d/held.conf

boot() {
    mount -t tmpfs t /run
    # Of this host's own services none: they belong to its disks and its network.
    rm -rf /etc/fstab /etc/systemd/system/*.wants /lib/systemd/system/sysinit.target.wants
    # A checkout under /tmp or /home is nothing that the unit's sandbox can see.
    mkdir -p /etc/iovigil "$checkout"
    mount --bind "$1" "$checkout"
    # Without the network there is nothing to wait for, and all is slow here.
    sed 's/^Wants=.*//; s/^ProtectHome=.*//; s/^WatchdogSec=.*//' "$1/packaging/systemd/iovigil.service" \
        >/etc/systemd/system/iovigil.service
    cp "$1/packaging/systemd/iovigil.sysusers" /usr/lib/sysusers.d/iovigil.conf
    printf '#!%s\nimport sys\nsys.path[:0] = ["%s/src"]\nfrom iovigil.agent.cli import main\nsys.exit(main())\n' \
        "${2/#"$1"/"$checkout"}" "$checkout" >/usr/bin/iovigil
    chmod 755 /usr/bin/iovigil
    cat >/etc/iovigil/agent.yml <<'YAML'
disks: [{name: d, device: /dev/sda}]
probes: {p: {every: 5s, limits: {riops: 50}, job: {rw: randread, bs: 4k, direct: 1, runtime: 4s}}}
YAML
    printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nTimeoutStartSec=300\nExecStart=/bin/bash %s look\n' \
        "$1/tests/system/service_in_the_machine.sh" >/etc/systemd/system/look.service
    printf '[Unit]\nWants=look.service basic.target\n' >/etc/systemd/system/look.target
    chgrp disk /dev/sda
    chmod 660 /dev/sda
    exec /lib/systemd/systemd --unit=look.target
}

look() {
    exec >/mnt/share/output 2>/mnt/share/errors
    systemd-sysusers
    systemctl start iovigil
    echo "start $?"
    echo "controllers $(cat $group/cgroup.subtree_control)"
    for _ in $(seq 100); do
        [ -s $group/job-d+p/io.max ] && break
        sleep 0.2
    done
    echo "limit $(cat $group/job-d+p/io.max)"
    hold_a_child
    systemctl stop iovigil
    echo "left $(cat $group/cgroup.subtree_control)"
    systemctl start iovigil
    echo "start-beside $?"
    echo "groups $(find $group -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | grep -v job-d | sort | tr '\n' ' ')"
    printf '[Service]\nExecStopPost=\n' >>$drop_in
    systemctl daemon-reload
    systemctl stop iovigil
    systemctl start iovigil
    echo "start-without $(systemctl show --property ExecMainStatus --value iovigil)"
    journalctl --unit iovigil --no-pager >/mnt/share/journal
    echo 0 >/mnt/share/status
    dmesg | tail -n 40 >/mnt/share/dmesg
    sync
    echo o >/proc/sysrq-trigger
    sleep 60
}

# Stands for one that does not end on SIGKILL: systemd is not to try.
hold_a_child() {
    mkdir -p $group/job-x+y "$(dirname $drop_in)"
    sleep 600 &
    echo $! >$group/job-x+y/cgroup.procs
    printf '[Service]\nKillMode=process\nSendSIGKILL=no\nRestart=no\n' >$drop_in
    systemctl daemon-reload
}

"$@"
