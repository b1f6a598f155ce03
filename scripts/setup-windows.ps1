<#
.SYNOPSIS
From a bare Windows and this folder to a served answer: .\scripts\setup-windows.ps1 -Help
.DESCRIPTION
Written to the same steps as scripts/setup-linux.sh; parsed, but not yet run on Windows by us.
Looks first and changes only what is missing, so that a second run changes nothing. Needs no administrator.
#>
[CmdletBinding(PositionalBinding = $false)]
param(
    [switch]$Yes,
    [switch]$DryRun,
    [switch]$NoOllama,
    [switch]$Service,
    [switch]$Uninstall,
    [switch]$Purge,
    [switch]$Help
)
Set-StrictMode -Version 3
$ErrorActionPreference = "Stop"
$repository = Split-Path $PSScriptRoot -Parent
. (Join-Path $PSScriptRoot "environment.ps1")

$venv = Join-Path $repository ".venv"
$python = Join-Path $venv "Scripts\python.exe"
$gateway = Join-Path $venv "Scripts\ai-gateway.exe"
$data = Join-Path $env:LOCALAPPDATA "ai-gateway-setup"
$record = Join-Path $data "setup-record"
$ollamaHome = Join-Path $data "ollama"
$ollamaLog = Join-Path $data "ollama.log"
$ollamaPid = Join-Path $data "ollama.pid"
$taskName = "AI Gateway"
$script:changes = 0

function Stop-Setup([string]$What) {
    [Console]::Error.WriteLine("setup-windows.ps1: $What")
    exit 1
}

function Write-There([string]$What) { Write-Output "  there   $What" }
function Write-Note([string]$What) { Write-Output "  note    $What" }

# The only way in which the steps change anything.
function Invoke-Change([string]$What, [scriptblock]$Action) {
    $script:changes += 1
    if ($DryRun) {
        Write-Output "  would   $What"
    } else {
        Write-Output "  do      $What"
        & $Action
    }
}

# -Yes and a rehearsal agree; without an answer it is a no.
function Test-Agreed([string]$Question) {
    if ($Yes -or $DryRun) { return $true }
    return (Read-Host "  ask     $Question [y/N]") -match "^(y|yes)$"
}

# One line for each thing made: kind, path, checkout, separated by tabs.
function Add-Record([string]$Kind, [string]$Path, [string]$Owner = $repository) {
    New-Item -ItemType Directory -Force -Path $data | Out-Null
    $line = "$Kind`t$Path`t$Owner"
    if (-not ((Test-Path $record) -and (@(Get-Content $record) -contains $line))) { Add-Content -Path $record -Value $line }
}

function Get-Record([string]$Kind, [string]$Owner = $repository) {
    if (-not (Test-Path $record)) { return $null }
    foreach ($line in Get-Content $record) {
        $parts = $line -split "`t"
        if ($parts[0] -eq $Kind -and $parts[2] -eq $Owner) { return $parts[1] }
    }
    return $null
}

function Remove-Record([string]$Owner) {
    $kept = @(Get-Content $record | Where-Object { ($_ -split "`t")[2] -ne $Owner })
    if ($kept.Count -gt 0) { Set-Content -Path $record -Value $kept } else { Remove-Item $record }
}

function Test-Python {
    foreach ($name in @("py", "python")) {
        if (Get-Command $name -ErrorAction SilentlyContinue) {
            & $name -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>$null
            if ($LASTEXITCODE -eq 0) { return $true }
        }
    }
    return $false
}

function Install-Python {
    if (Test-Python) { Write-There "Python 3.11 or newer"; return }
    $command = "winget install --exact --id Python.Python.3.13 --scope user"
    Write-Output "  need    Python 3.11 or newer"
    Write-Output "            $command"
    if (-not (Get-Command winget -ErrorAction SilentlyContinue)) {
        Stop-Setup "there is no winget here. Install Python from https://www.python.org/downloads/ and start again."
    }
    if (-not (Test-Agreed "Run that now?")) { Stop-Setup "it was not agreed to (-Yes agrees). Run it yourself, then start again: $command" }
    Invoke-Change $command {
        winget install --exact --id Python.Python.3.13 --scope user --silent --accept-package-agreements --accept-source-agreements
        if ($LASTEXITCODE -ne 0) { Stop-Setup "winget failed. Run it yourself, then start again: $command" }
        $env:Path = [Environment]::GetEnvironmentVariable("Path", "User") + ";" + [Environment]::GetEnvironmentVariable("Path", "Machine")
    }
}

function Install-Packages {
    if (Test-Path $gateway) {
        & $gateway --version | Out-Null
        if ($LASTEXITCODE -eq 0 -and (Test-Path (Join-Path $venv ".installed-requirements.txt"))) {
            if (-not $DryRun) { Install-Environment -Repository $repository -Requirements "requirements.txt" }
            Write-There "virtual environment $venv"
            return
        }
    }
    $ours = -not (Test-Path $venv)
    Invoke-Change "make $venv with the pinned packages (about 350 MB)" {
        Install-Environment -Repository $repository -Requirements "requirements.txt"
        if ($ours) { Add-Record "environment" $venv }
    }
}

function Write-Settings {
    $settings = Join-Path $repository ".env"
    if (Test-Path $settings) { Write-There "settings $settings (kept as it is)"; return }
    Invoke-Change "write $settings, readable by you alone" {
        New-Item -ItemType File -Path $settings | Out-Null # fails rather than overwrites
        icacls $settings /inheritance:r /grant:r "${env:USERDOMAIN}\${env:USERNAME}:F" | Out-Null
        Get-Content (Join-Path $repository ".env.example") | Set-Content -Path $settings -Encoding ascii
    }
    Write-Note "lines of .env that matter: GITHUB_COPILOT_TOKEN (or gh auth login), OPENAI_API_KEY, LOCAL_MODEL; all may stay empty"
}

function Invoke-OllamaProcess { & $python -B (Join-Path $PSScriptRoot "ollama_process.py") @args }

function Get-OllamaProgram {
    $own = Join-Path $ollamaHome "ollama.exe"
    if (Test-Path $own) { return $own }
    $found = Get-Command ollama -ErrorAction SilentlyContinue
    if ($found) { return $found.Source }
    return $null
}

function Install-Ollama {
    if ($NoOllama) { return }
    $address = "127.0.0.1:11434"
    if (Test-Path $python) {
        $found = Invoke-OllamaProcess look
        if ($LASTEXITCODE -ne 0) { Stop-Setup "the settings are not right; see above." }
        if ($found -eq "elsewhere") { Write-Note "OLLAMA_BASE_URL leads to another computer: no Ollama is set up here"; return }
        $address, $state = $found -split " "
        if ($state -eq "answers") { Write-There "Ollama, answering at http://$address"; return }
    }
    if (-not (Get-OllamaProgram)) {
        if (-not (Test-Agreed "Install Ollama for you alone, into $ollamaHome (about 1.5 GB to download, 4 GB on disk)?")) {
            Write-Note "without Ollama, documents are still answered from by quoting them (-NoOllama asks no more)"
            return
        }
        $from = if ($env:OLLAMA_DOWNLOAD_URL) { $env:OLLAMA_DOWNLOAD_URL } else { "its releases on GitHub" }
        Invoke-Change "download Ollama from $from, check it by its sha256sum.txt, unpack it into $ollamaHome" {
            & $python -B (Join-Path $PSScriptRoot "ollama_release.py") $ollamaHome --system Windows --machine $env:PROCESSOR_ARCHITECTURE
            if ($LASTEXITCODE -ne 0) { Stop-Setup "the gateway is set up and works without Ollama (-NoOllama leaves it out)." }
            Add-Record "ollama" $ollamaHome "user"
        }
    }
    Invoke-Change "start Ollama at http://$address, with a clean environment (log: $ollamaLog)" {
        Add-Record "ollama-log" $ollamaLog "user" # there is something to stop, whoever installed it
        Invoke-OllamaProcess start (Get-OllamaProgram) --log $ollamaLog --pid $ollamaPid
        if ($LASTEXITCODE -ne 0) { Stop-Setup "Ollama does not start. Its log: $ollamaLog" }
    }
}

function Install-Service {
    $task = Get-ScheduledTask -TaskName $taskName -ErrorAction SilentlyContinue
    if ($task -and $task.Actions[0].WorkingDirectory -eq $repository) { Write-There "scheduled task '$taskName'"; return }
    if ($task -and -not (Test-Agreed "The task '$taskName' belongs to another checkout. Make it anew for $repository?")) {
        Stop-Setup "the task stays as it was (-Yes agrees)."
    }
    Invoke-Change "make and start the scheduled task '$taskName', which runs when you log in" {
        $action = New-ScheduledTaskAction -Execute $gateway -Argument "serve" -WorkingDirectory $repository
        $trigger = New-ScheduledTaskTrigger -AtLogOn -User "${env:USERDOMAIN}\${env:USERNAME}"
        $options = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit ([TimeSpan]::Zero) -RestartCount 3 -RestartInterval (New-TimeSpan -Minutes 1)
        Register-ScheduledTask -TaskName $taskName -Action $action -Trigger $trigger -Settings $options -Force | Out-Null
        Start-ScheduledTask -TaskName $taskName
        Add-Record "service" $taskName
    }
}

function Remove-Setup {
    if (-not (Test-Path $record) -and -not $Purge) { Write-Output "Nothing to remove: there is no record of a set-up ($record)."; return }
    if (-not (Test-Agreed "Remove what this script made for ${repository}?")) { Stop-Setup "nothing was removed (-Yes agrees)." }
    if (Get-Record "service") {
        Invoke-Change "stop and remove the scheduled task '$taskName'" {
            Stop-ScheduledTask -TaskName $taskName -ErrorAction SilentlyContinue
            Unregister-ScheduledTask -TaskName $taskName -Confirm:$false -ErrorAction SilentlyContinue
        }
    }
    $others = @()
    if (Test-Path $record) { $others = @(Get-Content $record | Where-Object { ($_ -split "`t")[2] -notin @($repository, "user") }) }
    if ($others.Count -gt 0) {
        Write-Note "Ollama stays: another checkout was set up with it"
    } else {
        if ((Test-Path $ollamaPid) -and (Test-Path $python)) {
            Invoke-Change "stop the Ollama that this script started" { Invoke-OllamaProcess stop --pid $ollamaPid }
        }
        if (Get-Record "ollama" "user") { Invoke-Change "remove $ollamaHome" { Remove-Item -Recurse -Force $ollamaHome } }
        if (-not $DryRun -and (Test-Path $record)) {
            Remove-Item -Force $ollamaLog, $ollamaPid -ErrorAction SilentlyContinue
            Remove-Record "user"
        }
    }
    if ($Purge) {
        if (Test-Path $gateway) { Invoke-Change "erase conversations, indexes and logins (ai-gateway erase --all)" { & $gateway erase --all --yes } }
        $settings = Join-Path $repository ".env"
        if (Test-Path $settings) { Invoke-Change "remove $settings" { Remove-Item $settings } }
    }
    if (Get-Record "environment") {
        Invoke-Change "remove $venv" { Remove-Item -Recurse -Force $venv }
    } elseif (Test-Path $venv) {
        Write-Note "$venv was not made by this script: it stays"
    }
    if ($DryRun) { Write-Output "Nothing was changed: this was a rehearsal."; return }
    if (Test-Path $record) { Remove-Record $repository }
    if ((Test-Path $data) -and -not (Get-ChildItem $data)) { Remove-Item $data }
    Write-Output "Kept: Python, and models of Ollama."
}

if ($Help) {
    Write-Output @"
usage: .\scripts\setup-windows.ps1 [-Yes] [-DryRun] [-NoOllama] [-Service] [-Uninstall [-Purge]] [-Help]

Sets up AI Gateway from this folder: Python if it is missing, a virtual environment with the pinned packages,
Ollama (asked), a .env file to fill in. What is there already is used; a second run changes nothing.

  -Yes         agree to everything that would be asked
  -DryRun      show every step and change nothing, not one file
  -NoOllama    leave Ollama out
  -Service     start when you log in from now on (a scheduled task of yours)
  -Uninstall   remove what this script made; .env and stored conversations stay
  -Purge       with -Uninstall: erase those too

OLLAMA_DOWNLOAD_URL names another address for Ollama's release files (sha256sum.txt beside them).
"@
    exit 0
}
if ($Purge -and -not $Uninstall) { Stop-Setup "-Purge belongs to -Uninstall." }
Set-Location $repository
if ($Uninstall) { Remove-Setup; exit 0 }

Install-Python
Install-Packages
Write-Settings
Install-Ollama
if ($Service) { Install-Service }
if ($DryRun) {
    Write-Output "  would   show: ai-gateway status"
    Write-Output "Nothing was changed: this was a rehearsal."
    exit 0
}
& $gateway status
if ($LASTEXITCODE -ne 0) { Stop-Setup "the gateway does not start; see above." }
if ($script:changes -eq 0) { Write-Output "Nothing to change: everything was there already." }
Write-Output "Start it with .\scripts\run.ps1, then open http://127.0.0.1:8000/ui"
